//! A target that somebody changes is written anew; who keeps changing it is named.

use futures::future::join_all;
use serde_json::json;

use super::keys;
use crate::{
    steps::{Stage, conditions, instant, message, target},
    support::{DEADLINE, Reply, eventually},
};

const DEFAULT_KEYS: [&str; 4] = ["access_token", "expires_at", "issued_at", "token_type"];

#[tokio::test]
async fn what_is_deleted_edited_or_removed_is_written_anew_with_a_new_token() {
    let stage = Stage::new("repairs").await;
    join_all(["deleted", "edited", "applied", "removed", "stripped"].map(async |name| {
        stage.resource(name, Reply::token()).await;
        stage.settled(name).await;
        let (mut former, _) = stage.written(name).await;
        // The first two repairs come at once.
        for round in 1..=2 {
            match name {
                "deleted" => stage.delete_secret(&target(name)).await,
                "edited" => {
                    let text = json!({ "stringData": { "access_token": format!("edited {round}") } });
                    drop(stage.edit(&target(name), text).await);
                }
                // Server-side apply records `stringData` only, and leaves the data's field managers as they were.
                "applied" => {
                    let text = format!("applied {round}");
                    drop(stage.put_secret(&target(name), &[("access_token", &text)]).await);
                }
                "removed" => {
                    drop(stage.edit(&target(name), json!({ "data": { "token_type": null } })).await);
                }
                _ => {
                    let gone = json!({ "metadata": { "annotations": null } });
                    drop(stage.edit(&target(name), gone).await);
                }
            }
            former = stage.wait_other_token(name, &former).await;
            let secret = stage.secret(&target(name)).await.unwrap();
            assert_eq!(keys(&secret), DEFAULT_KEYS, "{name}");
            stage.settled(name).await;
            assert_eq!(stage.exchanges(name), 1 + round, "{name}");
        }
    }))
    .await;
}

#[tokio::test]
async fn one_who_keeps_changing_the_target_is_named_and_costs_few_exchanges() {
    let stage = Stage::new("contested").await;
    stage.resource("one", Reply::token()).await;
    stage.settled("one").await;
    let fight = async {
        loop {
            eventually("a repair to undo", DEADLINE, async || stage.written("one").await.1).await;
            let text = json!({ "stringData": { "access_token": "mine" } });
            stage.edit_as("other-controller", &target("one"), text).await;
        }
    };
    let contested = "Ready=False TargetContested, Synced=False TargetContested";
    let watch = async {
        let first = stage.wait_conditions("one", contested).await;
        let said = message(&first, "Synced");
        assert!(said.contains("\"other-controller\"") && said.contains(&target("one")), "{said}");
        let next = instant(&first, "nextAttemptAt");
        assert_eq!(next.subsec_nanosecond(), 0, "whole seconds");
        assert!(next.as_second() - instant(&first, "lastRenewedAt").as_second() <= 5);
        assert!(stage.exchanges("one") >= 3, "two repairs came at once");
        let second = stage
            .wait_status("one", "a later attempt", |r| {
                conditions(r) == contested && instant(r, "nextAttemptAt") > next
            })
            .await;
        let later = instant(&second, "nextAttemptAt");
        assert!(later.as_second() - instant(&second, "lastRenewedAt").as_second() <= 10);
        let requests = stage.squadcast.requests("rt-one");
        let due: std::time::SystemTime = next.into();
        assert!(requests.iter().skip(3).all(|r| r.wall >= due), "the third repair waits");
        assert_eq!(requests.len(), 4);
    };
    tokio::select! {
        () = fight => {}
        () = watch => {}
    }
    stage.settled("one").await;
    assert!(stage.exchanges("one") <= 5, "{}", stage.exchanges("one"));
}

#[tokio::test]
async fn an_immutable_target_is_told_and_written_anew_once_it_is_deleted() {
    let stage = Stage::new("immutable").await;
    stage.resource("one", Reply::token()).await;
    stage.settled("one").await;
    stage.edit(&target("one"), json!({ "immutable": true })).await;
    let held = "Ready=True TokenValid, Synced=False TargetImmutable, Stalled=True TargetImmutable";
    let resource = stage.wait_conditions("one", held).await;
    assert!(message(&resource, "Stalled").contains("delete"), "{resource}");
    stage.ask("one").await;
    stage.flush().await;
    assert_eq!(stage.exchanges("one"), 1, "no exchange is spent on it");
    stage.delete_secret(&target("one")).await;
    stage.settled("one").await;
    assert_eq!(stage.exchanges("one"), 2);
}
