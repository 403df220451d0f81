//! A model of the API server: requests, their faults, and what the watches are told.

mod others;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
    time::Duration,
};

use http::{Method, Request, Response};
use hyper::body::{Bytes, Frame};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{
    objects::{Item, Kind, NAMESPACE, merge, refusal},
    process::Process,
    script::{Api, Refusal},
    secrets::Secrets,
    time::{DAWN, Time},
};

/// How long it takes garbage collection to see that an owner is gone.
const COLLECTED: Duration = Duration::from_secs(3);

/// What is wrong with the API server, and with what others do to it.
pub(super) struct Faults {
    pub(super) api: Api,
    pub(super) lose_answers: u32,
    pub(super) storm: u32,
    pub(super) refuse: Refusal,
    /// True time until which the watches on resources and on Secrets tell nothing.
    pub(super) lag: [i64; 2],
    /// So many more writes of these Secrets are undone.
    pub(super) fights: BTreeMap<String, u32>,
}

/// A status as it was written, and the one before.
pub(super) struct Told {
    pub(super) name: String,
    pub(super) before: Value,
    pub(super) after: Value,
    /// A status before this one could not be written.
    pub(super) missed: bool,
    /// True time.
    pub(super) at: i64,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {} s {} says", self.at - DAWN, self.name)?;
        for condition in self.after["conditions"].as_array().into_iter().flatten() {
            let part = |key: &str| condition[key].as_str().unwrap_or_default().to_owned();
            write!(f, " {}={} {},", part("type"), part("status"), part("reason"))?;
        }
        for field in ["failures", "nextAttemptAt", "renewAt", "expiresAt"] {
            write!(f, " {field} {}", self.after[field])?;
        }
        Ok(())
    }
}

pub(super) struct State {
    pub(super) secrets: Secrets,
    pub(super) credentials: BTreeMap<String, Arc<Value>>,
    pub(super) faults: Faults,
    pub(super) requests: u64,
    /// True time at which a write last met a conflict or its answer was lost.
    pub(super) met: i64,
    pub(super) writes: u64,
    /// What was written and has not been judged yet.
    pub(super) told: Vec<Told>,
    /// Secrets that got another access token, that, and when, true time.
    pub(super) issued: Vec<(String, Value, i64)>,
    /// Resources whose status could not be written lately.
    missed: BTreeSet<String>,
    watches: Vec<(Kind, mpsc::UnboundedSender<Item>)>,
    dice: u64,
}

#[derive(Clone)]
pub(super) struct Cluster {
    state: Arc<Mutex<State>>,
    time: Time,
}

impl Cluster {
    pub(super) fn new(time: Time) -> Self {
        let faults = Faults {
            api: Api::Up,
            lose_answers: 0,
            storm: 0,
            refuse: Refusal::Nothing,
            lag: [0, 0],
            fights: BTreeMap::new(),
        };
        let state = State {
            secrets: Secrets::default(),
            credentials: BTreeMap::new(),
            faults,
            requests: 0,
            met: 0,
            writes: 0,
            told: Vec::new(),
            issued: Vec::new(),
            missed: BTreeSet::new(),
            watches: Vec::new(),
            dice: 0x9E37_79B9_7F4A_7C15,
        };
        Self { state: Arc::new(Mutex::new(state)), time }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// A request or an event takes its time, and no two the same.
    pub(super) async fn latency(&self) {
        let pause = self.lock().roll();
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }

    /// The client of a process.
    pub(super) fn client(&self, process: &Process) -> Client {
        let (cluster, process) = (self.clone(), process.clone());
        let service = tower::service_fn(move |request: Request<Body>| {
            let (cluster, process) = (cluster.clone(), process.clone());
            async move { cluster.serve(request, &process).await }
        });
        Client::new(service, NAMESPACE)
    }

    async fn serve(&self, request: Request<Body>, process: &Process) -> Result<Response<Whole>, io::Error> {
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await.map_err(io::Error::other)?;
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        self.latency().await;
        self.lock().requests += 1;
        let dies = process.dies_at_this_request();
        if dies == Some(false) || process.is_dead() {
            return process.die().await;
        }
        let api = self.lock().faults.api;
        let (code, answer) = match api {
            Api::Hanging => {
                if let Some(name) = name_of_status(parts.uri.path()) {
                    self.lock().missed.insert(name.to_owned());
                }
                tokio::time::sleep(Duration::from_secs(5)).await;
                return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer"));
            }
            Api::Refusing => refusal(503, "the server is down"),
            Api::Up => {
                self.lock().answer(&parts.method, parts.uri.path(), parts.uri.query(), &body, &self.time)
            }
        };
        if dies.is_some() {
            return process.die().await;
        }
        if code >= 400
            && let Some(name) = name_of_status(parts.uri.path())
        {
            self.lock().missed.insert(name.to_owned());
        }
        self.avenge(&parts.method, parts.uri.path());
        if parts.method == Method::POST {
            self.collect_garbage();
        }
        if parts.method != Method::GET && api == Api::Up {
            let mut state = self.lock();
            if state.faults.lose_answers > 0 {
                state.faults.lose_answers -= 1;
                state.met = self.time.now();
                return Err(io::Error::new(io::ErrorKind::ConnectionReset, "the answer was lost"));
            }
        }
        let bytes = serde_json::to_vec(&*answer).map_err(io::Error::other)?;
        Response::builder().status(code).body(Whole(Some(bytes.into()))).map_err(io::Error::other)
    }

    /// Somebody who does not like what was written undoes it a second later.
    fn avenge(&self, method: &Method, path: &str) {
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        let mut state = self.lock();
        let Some(left) = state.faults.fights.get_mut(&name).filter(|_| method == Method::PATCH) else {
            return;
        };
        *left -= 1;
        if *left == 0 {
            state.faults.fights.remove(&name);
        }
        let cluster = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            cluster.lock().edit(&name, "access_token", Some("mine"));
        });
    }

    /// Some seconds later the Secrets go whose owners are gone.
    pub(super) fn collect_garbage(&self) {
        let cluster = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(COLLECTED).await;
            cluster.lock().collect_garbage();
        });
    }

    /// The value of a key of a Secret.
    pub(super) fn value(&self, secret: &str, key: &str) -> Option<String> {
        self.lock().value(secret, key)
    }
}

impl State {
    /// Milliseconds, from 1 to 32.
    fn roll(&mut self) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        1 + (self.dice >> 32) % 32
    }

    fn answer(
        &mut self,
        method: &Method,
        path: &str,
        query: Option<&str>,
        body: &Value,
        time: &Time,
    ) -> (u16, Arc<Value>) {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        if *method != Method::GET {
            self.writes += 1;
            self.storm(&parts, time.now());
        }
        match parts[..] {
            ["api", "v1", "namespaces", NAMESPACE, "secrets", ..] => {
                let refused = self.refused(method);
                let dry_run = query.is_some_and(|q| q.contains("dryRun=All"));
                let answer = refused
                    .unwrap_or_else(|| self.secrets.answer(method, parts.get(5).copied(), dry_run, body));
                let issued = std::mem::take(&mut self.secrets.issued);
                self.issued.extend(issued.into_iter().map(|(name, token)| (name, token, time.now())));
                self.tell_of_secrets();
                answer
            }
            [.., "squadcastcredentials", name] => match self.credentials.get(name) {
                Some(object) => (200, object.clone()),
                None => refusal(404, "not found"),
            },
            [.., "squadcastcredentials", name, "status"] => self.patch_status(name, body, time),
            _ => panic!("{method} {path}"),
        }
    }

    fn refused(&self, method: &Method) -> Option<(u16, Arc<Value>)> {
        match (self.faults.refuse, method) {
            (_, &Method::GET) | (Refusal::Nothing, _) => None,
            (Refusal::Quota, &Method::POST) => Some(refusal(403, "secrets is forbidden: exceeded quota")),
            (Refusal::Webhook, _) => Some(refusal(400, "admission webhook denied the request")),
            (Refusal::Rights, _) => Some(refusal(
                403,
                "secrets is forbidden: User \"operator\" cannot write resource \"secrets\"",
            )),
            (Refusal::Quota, _) => None,
        }
    }

    /// Somebody else changes the object that is about to be written.
    fn storm(&mut self, path: &[&str], now: i64) {
        if self.faults.storm == 0 {
            return;
        }
        self.faults.storm -= 1;
        self.met = now;
        let touched = json!({ "metadata": { "annotations": { "touched": self.faults.storm.to_string() } } });
        match path {
            [.., "secrets", name] => self.change_secret(name, &touched),
            [.., "squadcastcredentials", name, "status"] => self.change(name, &touched),
            _ => {}
        }
    }

    fn patch_status(&mut self, name: &str, body: &Value, time: &Time) -> (u16, Arc<Value>) {
        let Some(object) = self.credentials.get(name) else {
            return refusal(404, "not found");
        };
        if body["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"] {
            return refusal(409, "the object has been modified");
        }
        let before = object["status"].clone();
        let mut next = (**object).clone();
        merge(&mut next["status"], &body["status"]);
        let at = time.now();
        let missed = self.missed.remove(name);
        self.told.push(Told { name: name.to_owned(), missed, before, after: next["status"].clone(), at });
        (200, self.store(name, next))
    }

    fn store(&mut self, name: &str, mut object: Value) -> Arc<Value> {
        object["metadata"]["resourceVersion"] = self.secrets.next_version().to_string().into();
        let object = Arc::new(object);
        self.credentials.insert(name.to_owned(), object.clone());
        self.tell(Kind::Credentials, &Item::Applied(object.clone()));
        object
    }
}

/// The resource whose status a request writes.
fn name_of_status(path: &str) -> Option<&str> {
    path.strip_suffix("/status")?.rsplit('/').next()
}

/// The body of an answer, in one piece.
pub(super) struct Whole(Option<Bytes>);

impl hyper::body::Body for Whole {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }
}
