//! Each row of the table of failures: reason, message, who must act, when the next attempt comes, and what it
//! means for `Ready`. The next attempt is read from the status, where it is an exact number of seconds after the
//! failure; nothing here waits for a long pause to end.

mod answers;
mod connection;
mod outages;
mod pauses;
mod references;
mod rejections;

use futures::future::join_all;

use crate::{
    steps::{Stage, assert_backed_off, failures, message, target},
    support::Reply,
};

fn all_false(reason: &str) -> String {
    format!("Ready=False {reason}, Synced=False {reason}")
}

fn stalled(reason: &str) -> String {
    format!("Ready=False {reason}, Synced=False {reason}, Stalled=True {reason}")
}

fn unsynced(reason: &str) -> String {
    format!("Ready=True TokenValid, Synced=False {reason}")
}

/// Resources of these names whose exchanges are answered so: each reports `reason` as a transient failure, has
/// no token, and has spent one exchange for each failure that it counts. Answers with the messages.
async fn assert_transient(stage: &Stage, reason: &str, cases: Vec<(&str, Reply)>) -> Vec<(String, String)> {
    join_all(cases.into_iter().map(async |(name, reply)| {
        stage.resource(name, reply).await;
        let resource = stage.wait_conditions(name, &all_false(reason)).await;
        assert_backed_off(&resource, 300);
        assert_eq!(message(&resource, "Ready"), message(&resource, "Synced"), "{name}");
        assert!(stage.exchanges(name) >= usize::try_from(failures(&resource)).unwrap(), "{name}");
        assert_eq!(stage.secret(&target(name)).await, None, "{name}");
        (name.to_owned(), message(&resource, "Synced"))
    }))
    .await
}
