//! How often a watch is opened. Touches nothing but time.
//!
//! Where the API server, or whoever stands in between, ends a watch without an error, kube's watcher opens it again
//! at once: a proxy that ends each of them would be asked hundreds of times a second. The first few come at once, so
//! that nothing is missed for long; those that follow come at a pace.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kube::{Client, client::Body};
use tokio::time::Instant;

/// So many come at once.
const AT_ONCE: u32 = 3;
/// The pace of the others.
const EVERY: Duration = Duration::from_secs(2);

/// The same client, with which no watch is opened faster than that.
pub(super) fn paced(client: Client) -> Client {
    let namespace = client.default_namespace().to_owned();
    let turns = Arc::new(Mutex::new(Turns::default()));
    let send = move |request: http::Request<Body>| {
        let (client, turns) = (client.clone(), turns.clone());
        async move {
            if request.uri().query().is_some_and(|query| query.contains("watch=true")) {
                let now = Instant::now();
                let turn =
                    turns.lock().unwrap_or_else(PoisonError::into_inner).next(request.uri().path(), now);
                tokio::time::sleep_until(turn).await;
            }
            client.send(request).await
        }
    };
    Client::new(tower::service_fn(send), namespace)
}

/// For each path when the next turn would be, had all before it come at the pace.
#[derive(Default)]
struct Turns(HashMap<Box<str>, Instant>);

impl Turns {
    fn next(&mut self, path: &str, now: Instant) -> Instant {
        let slack = EVERY * (AT_ONCE - 1);
        let due = self.0.get(path).map_or(now, |due| (*due).max(now));
        self.0.insert(path.into(), due + EVERY);
        due.checked_sub(slack).map_or(now, |turn| turn.max(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_come_at_once_and_the_others_at_a_pace() {
        let mut turns = Turns::default();
        let began = Instant::now() + EVERY * 10;
        let mut now = began;
        let mut waits = Vec::new();
        for _ in 0..6 {
            let turn = turns.next("/a", now);
            waits.push((turn - began).as_secs());
            now = turn;
        }
        assert_eq!(waits, [0, 0, 0, 2, 4, 6]);
        assert_eq!(turns.next("/b", now), now, "each watch has its own");
        // One that runs for its minute is opened again at once.
        let later = now + Duration::from_secs(60);
        assert_eq!(turns.next("/a", later), later);
    }
}
