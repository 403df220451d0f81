//! A model of Squadcast's auth service, with its moods.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use jiff::Timestamp;

use super::{script::Mood, time::Time};
use crate::{
    api::Reason,
    squadcast::{AccessToken, Failure, Grant, RefreshToken},
};

/// How long an answer takes, in milliseconds.
const SILENT: u64 = 15_000;
const SLOW: u64 = 14_000;
const QUICK: u64 = 80;

/// An access token as Squadcast knows it.
#[derive(Clone, Debug)]
pub(super) struct Minted {
    /// The refresh tokens that were sent for it and that came with it.
    pub(super) of: [String; 2],
    /// From when to when it is good, by true time.
    pub(super) issued: i64,
    pub(super) ends: i64,
    /// How far the operator's clock was off then.
    pub(super) offset: i64,
}

/// A refresh token that was replaced by an exchange.
#[derive(Clone, Debug)]
pub(super) struct Rotation {
    pub(super) sent: String,
    pub(super) new: String,
    /// The number of the process that was told.
    pub(super) process: u64,
}

pub(super) struct State {
    pub(super) mood: Mood,
    pub(super) life: i64,
    /// Refresh tokens that are good.
    pub(super) good: BTreeSet<String>,
    /// Refresh tokens that were rejected at least once.
    pub(super) rejected: BTreeSet<String>,
    pub(super) minted: BTreeMap<String, Minted>,
    pub(super) rotations: Vec<Rotation>,
    last: Option<String>,
    serial: u64,
}

#[derive(Clone)]
pub(super) struct Squadcast {
    state: Arc<Mutex<State>>,
    time: Time,
}

impl Squadcast {
    pub(super) fn new(time: Time) -> Self {
        let state = State {
            mood: Mood::Fine,
            life: 172_800,
            good: BTreeSet::new(),
            rejected: BTreeSet::new(),
            minted: BTreeMap::new(),
            rotations: Vec::new(),
            last: None,
            serial: 0,
        };
        Self { state: Arc::new(Mutex::new(state)), time }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Makes a refresh token.
    pub(super) fn issue(&self) -> String {
        self.lock().issue()
    }

    /// Answers a request of the process of this number.
    pub(super) async fn exchange(&self, token: &RefreshToken, process: u64) -> Result<Grant, Failure> {
        let requested_at = self.time.wall();
        let pause = match self.lock().mood {
            Mood::Silent => SILENT,
            Mood::Slow => SLOW,
            _ => QUICK,
        };
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let mut state = self.lock();
        let fail = |reason, retry_after: Option<u32>| {
            // The client bounds what it passes on.
            let retry_after = retry_after.map(|s| Duration::from_secs(s.clamp(1, 3600).into()));
            let message = format!("the model answers {reason}");
            Err(Failure { reason, message, status: None, retry_after, skew: None, requested_at })
        };
        match state.mood {
            Mood::Unavailable => fail(Reason::ServiceUnavailable, None),
            Mood::Silent => fail(Reason::Timeout, None),
            Mood::Strange => fail(Reason::InvalidResponse, None),
            Mood::Limiting(wait) => fail(Reason::RateLimited, wait),
            Mood::Unpaid => fail(Reason::PaymentRequired, None),
            mood if mood == Mood::Confused || !state.good.contains(token.expose()) => {
                state.rejected.insert(token.expose().to_owned());
                fail(Reason::RefreshTokenRejected, None)
            }
            _ => Ok(state.grant(token, process, requested_at, &self.time)),
        }
    }
}

impl State {
    fn issue(&mut self) -> String {
        self.serial += 1;
        let token = format!("refresh-{}", self.serial);
        self.good.insert(token.clone());
        token
    }

    fn grant(&mut self, token: &RefreshToken, process: u64, requested_at: Timestamp, time: &Time) -> Grant {
        let sent = token.expose().to_owned();
        let now = time.now();
        let repeated = self.last.clone().filter(|_| self.mood == Mood::Repeating).filter(|last| {
            self.minted.get(last).is_some_and(|known| known.of.contains(&sent) && known.ends > now + 60)
        });
        let rotated = (self.mood == Mood::Rotating).then(|| {
            let new = self.issue();
            self.good.remove(&sent);
            self.rotations.push(Rotation { sent: sent.clone(), new: new.clone(), process });
            new
        });
        let access = repeated.unwrap_or_else(|| {
            self.serial += 1;
            let access = format!("access-{}", self.serial);
            let of = [sent.clone(), rotated.clone().unwrap_or(sent)];
            let minted = Minted { of, issued: now, ends: now + self.life, offset: time.offset() };
            self.minted.insert(access.clone(), minted);
            access
        });
        self.last = Some(access.clone());
        let Minted { issued, ends, .. } = self.minted[&access];
        let received_at = time.wall();
        let skew = now - received_at.as_second();
        Grant {
            access_token: AccessToken::parse(&access).unwrap(),
            token_type: "Bearer".into(),
            issued_at: issued,
            expires_at: ends,
            skew: if skew.abs() > 5 { skew } else { 0 },
            rotated: rotated.map(|new| RefreshToken::parse(new.as_bytes()).unwrap()),
            requested_at,
            received_at,
        }
    }
}
