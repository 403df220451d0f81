//! What the stand-in remembers: scripts, requests, minted tokens.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::reply::{Content, Reply, TokenSpec};
use super::script::Script;

/// How every access token starts that a stand-in minted, for searches in logs and elsewhere.
pub const CANARY: &str = "at-canary-";

/// A request that came.
#[derive(Debug, Clone)]
pub struct Recorded {
    pub at: Instant,
    pub wall: SystemTime,
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub refresh_token: String,
    pub peer: String,
    /// `TLSv1_3`, or `None` for plain HTTP.
    pub tls: Option<String>,
    /// The status of the answer, once it was begun.
    pub status: Option<u16>,
    /// When the answer was written or the client gave up.
    pub ended: Option<Instant>,
    /// The access token of the answer.
    pub minted: Option<String>,
}

impl Recorded {
    pub(super) fn new(method: String, path: String, headers: Vec<(String, String)>) -> Self {
        let mut request = Self {
            at: Instant::now(),
            wall: SystemTime::now(),
            method,
            path,
            headers,
            body: Vec::new(),
            refresh_token: String::new(),
            peer: String::new(),
            tls: None,
            status: None,
            ended: None,
            minted: None,
        };
        request.refresh_token = request.header("x-refresh-token").unwrap_or_default().to_owned();
        request
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// A token that was minted.
#[derive(Debug, Clone)]
pub struct Minted {
    pub access_token: String,
    pub refresh_token: String,
    pub issued_at: i64,
    pub expires_at: i64,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) scripts: HashMap<String, Script>,
    /// Refresh tokens that are good for nothing any more, with those that came instead.
    pub(super) replaced: HashMap<String, String>,
    pub(super) requests: Vec<Recorded>,
    pub(super) minted: Vec<Minted>,
    pub(super) in_flight: usize,
    pub(super) most_in_flight: usize,
    pub(super) failed_handshakes: Vec<String>,
}

impl State {
    /// Makes a successor of a refresh token, with the same answers; the one before is good for nothing any more,
    /// what was minted from it stays good.
    fn replace(&mut self, refresh_token: &str) -> String {
        let (base, number) = refresh_token.split_once('~').unwrap_or((refresh_token, "0"));
        let next = format!("{base}~{}", number.parse::<u32>().unwrap_or_default() + 1);
        if let Some(script) = self.scripts.get(refresh_token).cloned() {
            self.scripts.insert(next.clone(), script);
        }
        self.replaced.insert(refresh_token.to_owned(), next.clone());
        next
    }
}

pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    /// How many requests have come; what waits for requests watches it.
    pub(super) arrivals: watch::Sender<usize>,
}

/// A request in hand.
pub(super) struct Flight {
    pub(super) number: usize,
    pub(super) shared: Arc<Shared>,
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.in_flight -= 1;
        state.requests[self.number].ended = Some(Instant::now());
    }
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a request and says what to answer.
    pub(super) fn receive(self: &Arc<Self>, request: Recorded) -> (Flight, Reply) {
        let mut state = self.state();
        let reply = if !request.path.ends_with("/oauth/access-token") {
            Reply::error(404)
        } else if request.method != "GET" {
            Reply::error(405)
        } else if state.replaced.contains_key(&request.refresh_token) {
            Reply::error(401)
        } else {
            state.scripts.get_mut(&request.refresh_token).map_or_else(|| Reply::error(401), Script::next)
        };
        let number = state.requests.len();
        state.requests.push(request);
        state.in_flight += 1;
        state.most_in_flight = state.most_in_flight.max(state.in_flight);
        drop(state);
        self.arrivals.send_replace(number + 1);
        (Flight { number, shared: self.clone() }, reply)
    }

    pub(super) fn answered(&self, number: usize, status: u16) {
        self.state().requests[number].status = Some(status);
    }

    pub(super) fn handshake_failed(&self, why: String) {
        self.state().failed_handshakes.push(why);
    }

    /// The body of an answer; a token is minted here, when it is sent.
    pub(super) fn body(&self, number: usize, reply: &Reply) -> Vec<u8> {
        let mut body = match &reply.content {
            Content::Bytes(bytes) => bytes.clone(),
            Content::Token(spec) => {
                let data = self.mint(number, spec, now() + reply.date.unwrap_or(0));
                json!({ "data": data }).to_string().into_bytes()
            }
        };
        body.resize(body.len().max(reply.size), b' ');
        body
    }

    fn mint(&self, number: usize, spec: &TokenSpec, clock: i64) -> Map<String, Value> {
        let mut state = self.state();
        let refresh_token = state.requests[number].refresh_token.clone();
        let mut earlier = state.minted.iter().rev();
        let last =
            spec.repeat.then(|| earlier.find(|minted| minted.refresh_token == refresh_token)).flatten();
        let last = last.filter(|last| last.expires_at > clock).cloned();
        let again = last.is_some();
        let minted = last.unwrap_or_else(|| {
            let issued = clock + spec.issued_offset;
            let (issued_at, expires_at) = spec.times.unwrap_or((issued, issued + spec.life));
            let access_token = spec.access_token.clone().unwrap_or_else(|| {
                let hash = Sha256::digest(refresh_token.as_bytes());
                let short = STANDARD_NO_PAD.encode(&hash[..6]).replace(['+', '/'], "x");
                format!("{CANARY}{}-{short}-{}", std::process::id(), state.minted.len())
            });
            Minted { access_token, refresh_token: refresh_token.clone(), issued_at, expires_at }
        });
        state.requests[number].minted = Some(minted.access_token.clone());
        let returned = match &spec.refresh_token {
            Some(other) => other.clone(),
            None if spec.rotates => state.replace(&refresh_token),
            None => refresh_token,
        };
        let mut data = Map::new();
        data.insert("access_token".to_owned(), minted.access_token.clone().into());
        data.insert("expires_at".to_owned(), minted.expires_at.into());
        data.insert("issued_at".to_owned(), minted.issued_at.into());
        data.insert("refresh_token".to_owned(), returned.into());
        data.insert("type".to_owned(), spec.token_type.clone().into());
        for (name, change) in &spec.changes {
            match change {
                Some(value) => data.insert(name.clone(), value.clone()),
                None => data.remove(name),
            };
        }
        if !again {
            state.minted.push(minted);
        }
        data
    }
}

/// The clock that tokens are minted by, in Unix seconds.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
