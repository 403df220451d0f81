//! Waiting for something that becomes true in its own time, without fixed sleeps.

use std::fmt::{Debug, Display};
use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

/// Long enough for a slow, busy machine; nothing that works comes near it.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// What one look at the world may answer: a value that ends the wait, or why not yet.
pub trait Look {
    type Value;
    fn verdict(self) -> Result<Self::Value, String>;
}

impl<T> Look for Option<T> {
    type Value = T;
    fn verdict(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing yet".to_owned())
    }
}

impl<T, E: Display> Look for Result<T, E> {
    type Value = T;
    fn verdict(self) -> Result<T, String> {
        self.map_err(|error| error.to_string())
    }
}

impl Look for bool {
    type Value = ();
    fn verdict(self) -> Result<(), String> {
        if self { Ok(()) } else { Err("still false".to_owned()) }
    }
}

/// Looks again and again until an answer comes; at the deadline it panics with the last reason why not.
#[track_caller]
pub fn eventually<L, F, Fut>(what: &str, patience: Duration, mut look: F) -> impl Future<Output = L::Value>
where
    L: Look,
    F: FnMut() -> Fut,
    Fut: Future<Output = L>,
{
    let caller = std::panic::Location::caller();
    async move {
        let deadline = Instant::now() + patience;
        let mut last = "no look has ended".to_owned();
        loop {
            match timeout_at(deadline, look()).await {
                Ok(answer) => match answer.verdict() {
                    Ok(value) => return value,
                    Err(reason) => last = reason,
                },
                Err(_) => last = format!("the last look did not end; before it: {last}"),
            }
            assert!(
                Instant::now() < deadline,
                "{caller}: waited {patience:?} in vain for {what}; last seen: {last}"
            );
            sleep(PAUSE).await;
        }
    }
}

/// An `Err` of `eventually`'s closure that shows a value: `unless(ready, || condition)`.
pub fn unless<T: Debug>(done: bool, seen: T) -> Result<T, String> {
    if done { Ok(seen) } else { Err(format!("{seen:?}")) }
}
