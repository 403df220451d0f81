//! What happens between an attempt and its end, or its repetition: requests, renames, deletions, other people's edits.

use std::time::{Duration, Instant};

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::{
    administrator::{forbid, permit, wait_probe},
    steps::{Stage, conditions, failures, source, spec, target},
    support::{DEADLINE, Gate, Reply, Script, eventually, eventually::unless},
};

/// The spec of a resource that reads the source of `of` and writes the Secret `to`.
fn renamed(name: &str, to: &str, of: &str) -> Value {
    let mut spec = spec(name, json!({}));
    spec["target"]["name"] = to.into();
    spec["refreshTokenSecretRef"]["name"] = source(of).into();
    spec
}

fn write_back(name: &str, of: &str) -> Value {
    let mut spec = renamed(name, &target(name), of);
    spec["refreshTokenRotation"] = "WriteBack".into();
    spec
}

impl Stage {
    /// Takes the label `a` off the target.
    async fn unlabel(&self, name: &str) {
        let patch = Patch::Merge(json!({ "metadata": { "labels": { "a": null } } }));
        self.secrets().patch(&target(name), &PatchParams::default(), &patch).await.unwrap();
    }

    async fn is_labelled(&self, name: &str) -> bool {
        let secret = self.secret(&target(name)).await;
        secret.and_then(|s| s.metadata.labels).is_some_and(|labels| labels.contains_key("a"))
    }

    /// Waits until the operator may exchange again for this resource, whatever its last answer was.
    async fn rested(&self, name: &str) {
        let last = self.squadcast.requests(&format!("rt-{name}")).last().map(|request| request.at);
        eventually("some seconds to have passed", DEADLINE, async || {
            last.is_none_or(|at| at.elapsed() > Duration::from_secs(7))
        })
        .await;
    }

    /// The shortest time between two requests with this refresh token.
    fn shortest_pause(&self, token: &str) -> Duration {
        let mut at: Vec<Instant> = self.squadcast.requests(token).iter().map(|request| request.at).collect();
        at.sort();
        at.windows(2).map(|two| two[1] - two[0]).min().unwrap_or(Duration::MAX)
    }
}

#[tokio::test]
async fn who_is_told_to_wait_waits_for_half_of_its_tokens_life_at_most() {
    let stage = Stage::new("half-life").await;
    let limited = Reply::error(429).retry_after("3600");
    stage.resource("one", Script::of([Reply::token().life(40), limited, Reply::token()])).await;
    stage.settled("one").await;
    let ready = stage.condition("one", "Ready").await.unwrap();
    stage.attempt("one").await;
    eventually("a third exchange", DEADLINE, async || stage.exchanges("one") >= 3).await;
    stage.settled("one").await;
    assert_eq!(stage.squadcast.minted("rt-one").len(), 2);
    let now = stage.condition("one", "Ready").await.unwrap();
    assert_eq!(now["lastTransitionTime"], ready["lastTransitionTime"], "it never ceased to be ready");
}

#[tokio::test]
async fn a_request_is_answered_by_one_exchange_though_the_spec_changes_meanwhile() {
    let stage = Stage::new("request-and-spec").await;
    let gate = Gate::new();
    let script = Script::of([Reply::token(), Reply::token().hold(&gate), Reply::token()]);
    stage.resource("one", script).await;
    stage.settled("one").await;
    let request = stage.ask("one").await;
    stage.squadcast.wait_for_count("rt-one", 2, DEADLINE).await;
    stage.apply("one", spec("one", json!({ "labels": { "a": "b" } }))).await;
    stage.flush().await;
    gate.release();
    stage.handled("one", &request).await;
    stage.settled("one").await;
    assert!(stage.is_labelled("one").await);
    assert_eq!(stage.exchanges("one"), 2);
}

#[tokio::test]
async fn exchanges_are_seconds_apart_also_where_their_tokens_cannot_be_written() {
    let stage = Stage::new("pause-refused").await;
    forbid(&stage, "-target");
    wait_probe(&stage, "-target", false).await;
    stage.resource("one", Reply::token()).await;
    stage.wait_conditions("one", "Ready=False WriteFailed, Synced=False WriteFailed").await;
    stage.attempt("one").await;
    stage.attempt("one").await;
    assert_eq!(stage.exchanges("one"), 3);
    assert!(stage.shortest_pause("rt-one") >= Duration::from_secs(5), "{:?}", stage.shortest_pause("rt-one"));
}

#[tokio::test]
async fn only_former_targets_are_deleted_and_never_the_source() {
    let stage = Stage::new("controlled").await;
    stage.resource("one", Reply::token()).await;
    let resource = stage.settled("one").await;
    let owner = json!([{
        "apiVersion": "credentials.squadcast.com/v1alpha1", "kind": "SquadcastCredential", "name": "one",
        "uid": resource["metadata"]["uid"], "controller": true,
    }]);
    let mut copy = serde_json::to_value(stage.secret(&target("one")).await.unwrap()).unwrap();
    copy["metadata"] = json!({
        "annotations": copy["metadata"]["annotations"], "labels": copy["metadata"]["labels"],
        "ownerReferences": owner,
    });
    stage.apply_secret("copy", copy).await;
    for (name, key) in [(source("one"), "refresh_token"), ("notes".to_owned(), "text")] {
        let body = json!({ "metadata": { "ownerReferences": owner }, "stringData": { key: "rt-one" } });
        stage.apply_secret(&name, body).await;
    }
    stage.attempt("one").await;
    stage.flush().await;
    assert!(stage.secret("copy").await.is_some(), "no name has changed");
    stage.apply("one", renamed("one", "one-renamed", "one")).await;
    stage.settled("one").await;
    eventually("the former target to go", DEADLINE, async || stage.secret(&target("one")).await.is_none())
        .await;
    eventually("its copy to go", DEADLINE, async || stage.secret("copy").await.is_none()).await;
    for name in [source("one"), "notes".to_owned()] {
        assert!(stage.secret(&name).await.is_some(), "{name} is the user's");
    }
}

#[tokio::test]
async fn a_rename_is_no_repair() {
    let stage = Stage::new("rename-shared").await;
    stage.source("one", Reply::token()).await;
    for name in ["one", "two"] {
        stage.apply(name, renamed(name, &target(name), "one")).await;
        stage.settled(name).await;
    }
    assert_eq!(stage.exchanges("one"), 1);
    stage.rested("one").await;
    for name in ["one", "two"] {
        stage.apply(name, renamed(name, &format!("{name}-new"), "one")).await;
        stage.settled(name).await;
    }
    assert_eq!(stage.exchanges("one"), 2, "both may have the same answer");
}

#[tokio::test]
async fn another_name_ends_a_contest() {
    let stage = Stage::new("contest-renamed").await;
    stage.resource("one", Reply::token()).await;
    stage.settled("one").await;
    let contested = async || {
        let resource = stage.get("one").await.unwrap_or_default();
        if stage.secret(&target("one")).await.is_some() {
            stage.delete_secret(&target("one")).await;
        }
        unless(conditions(&resource).contains("TargetContested"), conditions(&resource))
    };
    eventually("the operator to hesitate", DEADLINE, contested).await;
    stage.apply("one", renamed("one", "one-other", "one")).await;
    let first = stage
        .wait_status("one", "the new name to be seen", |resource| {
            resource["status"]["observedGeneration"] == resource["metadata"]["generation"]
        })
        .await;
    assert!(!conditions(&first).contains("TargetContested"), "{}", first["status"]);
    stage.settled("one").await;
}

#[tokio::test]
async fn who_fights_over_labels_uses_up_no_repair_of_data() {
    let stage = Stage::new("labels-and-data").await;
    stage.resource_with("one", json!({ "labels": { "a": "b" } })).await;
    stage.settled("one").await;
    stage.rested("one").await;
    for _ in 0..4 {
        eventually("the label", DEADLINE, async || stage.is_labelled("one").await).await;
        stage.unlabel("one").await;
    }
    eventually("the label", DEADLINE, async || stage.is_labelled("one").await).await;
    stage.settled("one").await;
    // Five seconds and more after each of them, further ones wait; the first repair of data comes at once.
    let said = std::cell::RefCell::new(Vec::new());
    stage.delete_secret(&target("one")).await;
    eventually("the Secret to be back", DEADLINE, async || {
        let resource = stage.get("one").await.unwrap_or_default();
        said.borrow_mut().push(conditions(&resource));
        stage.secret(&target("one")).await
    })
    .await;
    let said = said.into_inner();
    assert!(!said.iter().any(|said| said.contains("TargetContested")), "{said:?}");
}

#[tokio::test]
async fn while_no_exchange_succeeds_a_fight_over_labels_costs_few_writes() {
    let stage = Stage::new("labels-failing").await;
    stage.source("one", Script::of([Reply::token(), Reply::error(503)])).await;
    stage.apply("one", spec("one", json!({ "labels": { "a": "b" } }))).await;
    stage.settled("one").await;
    stage.attempt("one").await;
    stage.attempt("one").await;
    let began = Instant::now();
    let taken = std::cell::Cell::new(0);
    eventually("six seconds of fight", DEADLINE, async || {
        if stage.is_labelled("one").await {
            stage.unlabel("one").await;
            taken.set(taken.get() + 1);
        }
        began.elapsed() > Duration::from_secs(6)
    })
    .await;
    assert!((1..=5).contains(&taken.get()), "{} times", taken.get());
}

/// A stage on which `two` has a token, and `one` has got a new refresh token that it cannot save.
async fn unsaved(name: &str) -> Stage {
    let stage = Stage::new(name).await;
    stage.squadcast.accept("rt-next");
    let rotated = Reply::token().refresh_token("rt-next");
    stage.source("one", Script::of([Reply::token(), rotated, Reply::error(401)])).await;
    stage.apply("two", write_back("two", "one")).await;
    stage.settled("two").await;
    forbid(&stage, "one-source");
    wait_probe(&stage, "one-source", false).await;
    // Its first answer is not that of `two`, which is as old as this by then.
    stage.apply("one", write_back("one", "one")).await;
    stage.settled("one").await;
    stage.ask("one").await;
    stage.wait_conditions("one", "Ready=True TokenValid, Synced=False WriteFailed").await;
    assert_eq!(stage.exchanges("one"), 2);
    stage
}

/// Whatever became of `one`, `two` saves the new refresh token before it goes on.
async fn taken_over(stage: &Stage) {
    stage.ask("two").await;
    stage.wait_conditions("two", "Ready=True TokenValid, Synced=False WriteFailed").await;
    permit(stage, "one-source").await;
    stage.ask("two").await;
    stage.settled("two").await;
    assert_eq!(stage.secret_data(&source("one")).await["refresh_token"], "rt-next");
    assert_eq!(stage.exchanges("one"), 2, "nothing more was sent with the replaced one");
    assert!(stage.written("two").await.1);
}

#[tokio::test]
async fn a_write_back_is_taken_over_from_one_that_is_deleted() {
    let stage = unsaved("write-back-deleted").await;
    stage.delete("one").await;
    eventually("it to be gone", DEADLINE, async || stage.get("one").await.is_none()).await;
    stage.flush().await;
    taken_over(&stage).await;
}

#[tokio::test]
async fn a_write_back_is_taken_over_from_one_that_reads_another_secret() {
    let stage = unsaved("write-back-moved").await;
    stage.source("other", Reply::token()).await;
    stage.apply("one", write_back("one", "other")).await;
    stage.settled("one").await;
    taken_over(&stage).await;
}

#[tokio::test]
async fn a_request_gets_no_token_that_was_there_before_it() {
    let stage = Stage::new("request-while-stuck").await;
    stage.squadcast.accept("rt-next");
    stage.squadcast.script("rt-one", Script::of([Reply::token().refresh_token("rt-next")]));
    for name in ["one-source", "copy"] {
        stage.put_secret(name, &[("refresh_token", "rt-one")]).await;
    }
    forbid(&stage, "-source");
    wait_probe(&stage, "-source", false).await;
    stage.apply("one", write_back("one", "one")).await;
    stage.wait_conditions("one", "Ready=False WriteFailed, Synced=False WriteFailed").await;
    stage.credential("two", "copy", &target("two")).await;
    stage.settled("two").await;
    let before = stage.written("two").await.0;
    let resource = stage.attempt("two").await;
    assert_eq!(conditions(&resource), "Ready=True TokenValid, Synced=False WriteFailed");
    assert_eq!(stage.written("two").await.0, before);
    assert_eq!(stage.exchanges("one"), 1);
}

#[tokio::test]
async fn who_begins_to_merge_leaves_the_keys_of_others() {
    let stage = Stage::new("merge-late").await;
    stage.resource("one", Reply::token()).await;
    stage.settled("one").await;
    stage.apply_secret(&target("one"), json!({ "stringData": { "mine": "users" } })).await;
    stage.flush().await;
    let template = json!({ "access_token": "{{ access_token }}", "mine": "{{ access_token }}" });
    stage.apply("one", spec("one", json!({ "creationPolicy": "Merge", "template": template }))).await;
    let stalled = "Ready=True TokenValid, Synced=False MergeNotAllowed, Stalled=True MergeNotAllowed";
    stage.wait_conditions("one", stalled).await;
    assert_eq!(stage.secret_data(&target("one")).await["mine"], "users");
}

#[tokio::test]
async fn what_is_deleted_during_a_back_off_gets_no_answer_from_before() {
    let stage = Stage::new("deleted-backing-off").await;
    stage.source("one", Script::of([Reply::token(), Reply::error(503)])).await;
    for name in ["one", "two"] {
        stage.apply(name, renamed(name, &target(name), "one")).await;
        stage.settled(name).await;
    }
    while failures(&stage.attempt("one").await) < 3 {}
    // `one` waits for about 20 s; `two` gets a token now.
    stage.squadcast.script("rt-one", Reply::token());
    let sent = stage.exchanges("one");
    stage.attempt("two").await;
    assert_eq!(stage.exchanges("one"), sent + 1);
    stage.delete_secret(&target("one")).await;
    stage.settled("one").await;
    assert_ne!(stage.written("one").await.0, stage.written("two").await.0);
}
