//! The target: repaired, kept in step with the resource, and written only where it may be; what needs an
//! exchange and what does not.

use std::collections::BTreeMap;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::{
    administrator::{forbid_deletion, permit},
    steps::{Stage, assert_backed_off, conditions, failures, instant, message, source, spec, target},
    support::{
        DEADLINE, Gate, Reply, Script, eventually,
        world::{World, condition},
    },
};

const CLAIMED: &str = "Ready=False TargetClaimed, Synced=False TargetClaimed, Stalled=True TargetClaimed";
const NOT_OWNED: &str =
    "Ready=False TargetNotOwned, Synced=False TargetNotOwned, Stalled=True TargetNotOwned";
const ALLOW: &str = "credentials.squadcast.com/allow-write-by";
const LABEL: &str = "credentials.squadcast.com/credential";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

impl Stage {
    /// Changes a Secret by a merge patch, as this field manager.
    async fn edit_as(&self, manager: &str, secret: &str, patch: Value) -> Secret {
        let params = PatchParams { field_manager: Some(manager.into()), ..PatchParams::default() };
        let patched = self.secrets().patch(secret, &params, &Patch::Merge(patch)).await;
        patched.unwrap_or_else(|error| panic!("Secret {secret}: {error}"))
    }

    async fn edit(&self, secret: &str, patch: Value) -> Secret {
        self.edit_as("somebody", secret, patch).await
    }

    /// Waits until the target of this resource is as `done` says.
    async fn wait_target(&self, name: &str, what: &str, done: impl Fn(&Secret) -> bool) -> Secret {
        eventually(&format!("{}: {what}", target(name)), DEADLINE, async || {
            let secret = self.secret(&target(name)).await.ok_or("no Secret")?;
            if done(&secret) { Ok(secret) } else { Err(format!("{:?}", secret.metadata)) }
        })
        .await
    }

    /// Waits until the target holds a good token that differs from `former`.
    async fn wait_other_token(&self, name: &str, former: &str) -> String {
        eventually(&format!("another token in {}", target(name)), DEADLINE, async || {
            let (text, good) = self.written(name).await;
            (good && text != former).then_some(text)
        })
        .await
    }

    /// Puts a Secret there that is nobody's and looks like nothing of the operator's.
    async fn foreign(&self, name: &str, annotations: Value) -> Secret {
        let metadata = json!({ "annotations": annotations });
        self.apply_secret(&target(name), json!({ "metadata": metadata, "stringData": { "password": "x" } }))
            .await
    }
}

fn labels(secret: &Secret) -> BTreeMap<String, String> {
    secret.metadata.labels.clone().unwrap_or_default()
}

fn annotations(secret: &Secret) -> BTreeMap<String, String> {
    secret.metadata.annotations.clone().unwrap_or_default()
}

fn keys(secret: &Secret) -> Vec<String> {
    secret.data.iter().flatten().map(|(key, _)| key.clone()).collect()
}

/// The uid of the controller among the owners.
fn controller(secret: &Secret) -> Option<String> {
    let owners = secret.metadata.owner_references.iter().flatten();
    owners.filter(|owner| owner.controller == Some(true)).map(|owner| owner.uid.clone()).next()
}

fn uid(resource: &Value) -> Option<String> {
    resource["metadata"]["uid"].as_str().map(str::to_owned)
}

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
async fn what_others_put_on_the_target_survives_every_write() {
    let stage = Stage::new("foreign-parts").await;
    stage.resource("one", Reply::token()).await;
    stage.settled("one").await;
    let theirs = json!({
        "metadata": { "labels": { "theirs": "l" }, "annotations": { "theirs/a": "a" } },
        "stringData": { "theirs": "d" },
    });
    stage.edit(&target("one"), theirs).await;
    stage.flush().await;
    assert_eq!(stage.exchanges("one"), 1, "what others add needs no exchange");
    let check = async |what: &str| {
        let secret = stage.secret(&target("one")).await.unwrap();
        assert_eq!(labels(&secret).get("theirs").map(String::as_str), Some("l"), "{what}");
        assert_eq!(annotations(&secret).get("theirs/a").map(String::as_str), Some("a"), "{what}");
        assert_eq!(
            stage.secret_data(&target("one")).await.get("theirs").map(String::as_str),
            Some("d"),
            "{what}"
        );
    };
    stage.attempt("one").await;
    check("a renewal").await;
    let fields = json!({ "labels": { "ours": "1" }, "template": { "a": "{{ access_token }}" } });
    stage.apply("one", spec("one", fields)).await;
    stage.settled("one").await;
    check("a change of the template").await;
    stage.apply("one", spec("one", json!({ "creationPolicy": "Orphan" }))).await;
    stage.settled("one").await;
    check("a change of the policy").await;
    stage.edit(&target("one"), json!({ "data": { "access_token": null } })).await;
    stage.wait_other_token("one", "").await;
    check("a repair").await;
}

#[tokio::test]
async fn labels_and_annotations_follow_the_spec_without_an_exchange() {
    let stage = Stage::new("metadata").await;
    let steps = [
        json!({ "labels": { "a": "1", "b": "1" }, "annotations": { "x/a": "1", "x/b": "1" } }),
        json!({ "labels": { "a": "2", "c": "1" }, "annotations": { "x/a": "2", "x/c": "1" } }),
        json!({ "labels": { "c": "1" } }),
        json!({}),
    ];
    stage.resource("one", Reply::token()).await;
    stage.settled("one").await;
    let (first, _) = stage.written("one").await;
    let map = |value: &Value| -> BTreeMap<String, String> {
        serde_json::from_value(value.clone()).unwrap_or_default()
    };
    for step in steps {
        stage.apply("one", spec("one", step.clone())).await;
        stage.settled("one").await;
        let secret = stage.secret(&target("one")).await.unwrap();
        let mut seen = labels(&secret);
        assert_eq!(seen.remove(LABEL).as_deref(), Some("one"));
        assert_eq!(seen.remove(MANAGED_BY).as_deref(), Some("squadcast-operator"));
        assert_eq!(seen, map(&step["labels"]), "{step}");
        let mut seen = annotations(&secret);
        seen.retain(|key, _| !key.starts_with("credentials.squadcast.com/"));
        assert_eq!(seen, map(&step["annotations"]), "{step}");
    }
    assert_eq!(stage.exchanges("one"), 1);
    assert_eq!(stage.written("one").await.0, first);
}

#[tokio::test]
async fn labels_annotations_and_owners_taken_away_are_put_back_without_an_exchange() {
    let stage = Stage::new("metadata-back").await;
    let fields = json!({ "labels": { "ours": "1" }, "annotations": { "ours/a": "1" } });
    stage.resource_with("one", fields).await;
    let resource = stage.settled("one").await;
    let whole = stage.secret(&target("one")).await.unwrap();
    for (what, patch) in [
        ("a label gone", json!({ "labels": { "ours": null } })),
        ("a label changed", json!({ "labels": { "ours": "theirs" } })),
        ("an annotation gone", json!({ "annotations": { "ours/a": null } })),
        ("an annotation changed", json!({ "annotations": { "ours/a": "theirs" } })),
        ("the operator's labels gone", json!({ "labels": { LABEL: null, MANAGED_BY: null } })),
        ("the owner gone", json!({ "ownerReferences": null })),
    ] {
        let changed = stage.edit(&target("one"), json!({ "metadata": patch })).await;
        let version = changed.metadata.resource_version.clone();
        let back = stage.wait_target("one", what, |s| s.metadata.resource_version != version).await;
        assert_eq!(labels(&back), labels(&whole), "{what}");
        assert_eq!(annotations(&back), annotations(&whole), "{what}");
        assert_eq!(controller(&back), uid(&resource), "{what}");
        assert_eq!(back.data, whole.data, "{what}");
    }
    assert_eq!(stage.exchanges("one"), 1);
}

#[tokio::test]
async fn a_renamed_target_is_written_before_the_former_one_goes() {
    let stage = Stage::new("rename").await;
    for name in ["owner", "orphan"] {
        let fields = if name == "orphan" { json!({ "creationPolicy": "Orphan" }) } else { json!({}) };
        stage.resource_with(name, fields.clone()).await;
        stage.settled(name).await;
        let mut spec = spec(name, fields);
        spec["target"]["name"] = format!("{name}-renamed").into();
        stage.apply(name, spec).await;
        let resource = stage.settled(name).await;
        assert_eq!(resource["status"]["targetName"], format!("{name}-renamed"));
        assert_eq!(stage.exchanges(name), 2);
        let data = stage.secret_data(&format!("{name}-renamed")).await;
        assert!(stage.squadcast.is_good(&data["access_token"]));
    }
    eventually("the former Secret to go", DEADLINE, async || stage.secret("owner-target").await.is_none())
        .await;
    assert!(stage.secret("orphan-target").await.is_some(), "an orphan is nobody's to delete");
    let requests = stage.requests_of(&stage.operator);
    let writes: Vec<_> = requests.iter().filter(|r| r.resource == "secrets" && r.is_write()).collect();
    let deleted = writes.iter().position(|r| r.verb == "delete" && r.name == "owner-target");
    let before = &writes[..deleted.expect("the operator deletes it")];
    assert!(before.iter().filter(|r| r.verb == "create").count() >= 2, "{before:?}");
}

#[tokio::test]
async fn a_former_target_that_cannot_be_deleted_is_told_and_holds_up_nothing() {
    let stage = Stage::new("rename-refused").await;
    stage.resource("one", Reply::token()).await;
    stage.settled("one").await;
    forbid_deletion(&stage, "-target").await;
    let mut renamed = spec("one", json!({}));
    renamed["target"]["name"] = "renamed".into();
    stage.apply("one", renamed).await;
    let resource = stage.wait_conditions("one", "Ready=True TokenValid, Synced=False WriteFailed").await;
    let said = message(&resource, "Synced");
    assert!(said.contains("\"one-target\"") && said.contains("delete"), "{said}");
    let resource = stage.wait_status("one", "more failures", |r| failures(r) > 1).await;
    assert_backed_off(&resource, 300);
    // It is counted once the status is written.
    stage.wait_outcome("failed", 2.0).await;
    // Neither a renewal nor a repair waits for that.
    stage.attempt("one").await;
    stage.delete_secret("renamed").await;
    eventually("the Secret to be back", DEADLINE, async || stage.secret("renamed").await).await;
    assert_eq!(stage.exchanges("one"), 4);
    permit(&stage, "-target").await;
    stage.attempt("one").await;
    eventually("the former Secret to go", DEADLINE, async || stage.secret("one-target").await.is_none())
        .await;
    stage.settled("one").await;
}

#[tokio::test]
async fn a_foreign_secret_is_never_touched() {
    let stage = Stage::new("foreign").await;
    let cases = [
        ("plain", json!({})),
        ("labelled", json!({ "labels": { MANAGED_BY: "squadcast-operator", LABEL: "other" } })),
        ("allowed", json!({ "annotations": { ALLOW: "other" } })),
        ("controlled", json!({ "annotations": { ALLOW: "controlled" } })),
    ];
    let map: k8s_openapi::api::core::v1::ConfigMap =
        serde_json::from_value(json!({ "metadata": { "name": "holder" } })).unwrap();
    let holder = kube::Api::namespaced(stage.client.clone(), &stage.namespace)
        .create(&PostParams::default(), &map)
        .await
        .unwrap();
    let stage = &stage;
    let holder = holder.metadata.uid.as_deref().unwrap();
    join_all(cases.map(async |(name, mut metadata)| {
        if name == "controlled" {
            metadata["ownerReferences"] = json!([{ "apiVersion": "v1", "kind": "ConfigMap",
                "name": "holder", "uid": holder, "controller": true }]);
        }
        let body = json!({ "metadata": metadata, "stringData": { "access_token": "theirs" } });
        let before = stage.apply_secret(&target(name), body).await;
        stage.resource(name, Reply::token()).await;
        let resource = stage.wait_conditions(name, NOT_OWNED).await;
        let said = message(&resource, "Stalled");
        assert!(said.contains(&target(name)), "{said}");
        assert_eq!(said.contains("ConfigMap \"holder\""), name == "controlled", "{said}");
        assert_eq!(said.contains(ALLOW), name != "controlled", "{said}");
        stage.ask(name).await;
        stage.flush().await;
        assert_eq!(stage.secret(&target(name)).await.as_ref(), Some(&before), "{name}");
        assert_eq!(stage.exchanges(name), 0, "{name}: ownership is checked before an exchange is spent");
        stage.delete_secret(&target(name)).await;
        stage.settled(name).await;
        assert!(stage.written(name).await.1);
        assert_eq!(stage.exchanges(name), 1, "{name}");
    }))
    .await;
}

#[tokio::test]
async fn a_secret_that_appears_during_the_exchange_is_not_overwritten() {
    let stage = Stage::new("creation-race").await;
    let gate = Gate::new();
    stage.resource("one", Reply::token().hold(&gate)).await;
    stage.squadcast.wait_for_count("rt-one", 1, DEADLINE).await;
    let before = stage.foreign("one", json!({})).await;
    gate.release();
    stage.wait_conditions("one", NOT_OWNED).await;
    assert_eq!(stage.secret(&target("one")).await.as_ref(), Some(&before));
    stage.delete_secret(&target("one")).await;
    stage.settled("one").await;
    assert_eq!(stage.exchanges("one"), 1, "the token that was minted is kept and written");
}

#[tokio::test]
async fn a_write_on_a_stale_look_never_lands_on_somebody_elses_secret() {
    let stage = Stage::new("stale-write").await;
    let gate = Gate::new();
    stage.resource("one", Script::of([Reply::token(), Reply::token().hold(&gate)])).await;
    stage.settled("one").await;
    stage.ask("one").await;
    stage.squadcast.wait_for_count("rt-one", 2, DEADLINE).await;
    // Between the look and the write it goes, and another of this name is somebody's.
    stage.delete_secret(&target("one")).await;
    let theirs = stage.foreign("one", json!({})).await;
    gate.release();
    stage.wait_conditions("one", NOT_OWNED).await;
    assert_eq!(stage.secret(&target("one")).await.as_ref(), Some(&theirs));
}

#[tokio::test]
async fn the_target_goes_with_its_owner_and_outlives_it_as_an_orphan() {
    let stage = Stage::new("deletion").await;
    for (name, policy) in [("owner", "Owner"), ("orphan", "Orphan")] {
        stage.resource_with(name, json!({ "creationPolicy": policy })).await;
        let resource = stage.settled(name).await;
        let secret = stage.secret(&target(name)).await.unwrap();
        assert_eq!(secret.type_.as_deref(), Some("Opaque"));
        assert_eq!(controller(&secret), uid(&resource).filter(|_| name == "owner"));
        stage.delete(name).await;
    }
    eventually("the owned Secret to go", DEADLINE, async || stage.secret("owner-target").await.is_none())
        .await;
    let left = stage.secret("orphan-target").await.unwrap();

    // Whoever has the name next takes the orphan over, without an exchange.
    stage.credential("orphan", &source("orphan"), &target("orphan")).await;
    let resource = stage.settled("orphan").await;
    let taken = stage.secret("orphan-target").await.unwrap();
    assert_eq!(controller(&taken), uid(&resource));
    assert_eq!((taken.data, stage.exchanges("orphan")), (left.data, 1));
}

#[tokio::test]
async fn a_restored_secret_is_taken_over_without_an_exchange() {
    let mut stage = Stage::new("restore").await;
    stage.resource_with("one", json!({ "labels": { "a": "b" } })).await;
    stage.settled("one").await;
    let saved = stage.secret(&target("one")).await.unwrap();
    // As a tool for backups does: other uids, no owners, no status, another field manager.
    stage
        .restart(async |world| {
            world.delete("one").await;
            let gone = async || world.secret(&target("one")).await.is_none();
            eventually("the Secret to go", DEADLINE, gone).await;
            let metadata = json!({ "name": target("one"), "labels": labels(&saved),
                "annotations": annotations(&saved) });
            let body = json!({ "metadata": metadata, "data": saved.data, "type": "Opaque" });
            let secret = serde_json::from_value(body).unwrap();
            let params = PostParams { field_manager: Some("backup".into()), ..PostParams::default() };
            world.secrets().create(&params, &secret).await.unwrap();
            world.apply("one", spec("one", json!({ "labels": { "a": "b" } }))).await;
        })
        .await;
    let resource = stage.settled("one").await;
    let secret = stage.secret(&target("one")).await.unwrap();
    assert_eq!(controller(&secret), uid(&resource));
    assert_eq!((&secret.data, stage.exchanges("one")), (&saved.data, 1));
    assert_eq!(resource["status"]["expiresAt"], annotations(&saved)["credentials.squadcast.com/expires-at"]);
}

#[tokio::test]
async fn a_secret_of_a_former_resource_is_waited_for() {
    let stage = Stage::new("former").await;
    let owner = json!([{ "apiVersion": "credentials.squadcast.com/v1alpha1", "kind": "SquadcastCredential",
        "name": "one", "uid": "00000000-1111-2222-3333-444444444444", "controller": true }]);
    let metadata = json!({ "ownerReferences": owner, "finalizers": ["test.example/hold"] });
    stage.apply_secret(&target("one"), json!({ "metadata": metadata, "stringData": { "a": "b" } })).await;
    stage.resource("one", Reply::token()).await;
    let waiting = "Ready=False TargetNotOwned, Synced=False TargetNotOwned";
    stage.wait_conditions("one", waiting).await;
    // Garbage collection wants it gone; the finalizer holds it.
    stage.wait_target("one", "deletion", |s| s.metadata.deletion_timestamp.is_some()).await;
    stage.flush().await;
    assert_eq!(conditions(&stage.get("one").await.unwrap()), waiting);
    assert_eq!(stage.exchanges("one"), 0);
    stage.edit(&target("one"), json!({ "metadata": { "finalizers": null } })).await;
    let resource = stage.settled("one").await;
    assert_eq!(controller(&stage.secret(&target("one")).await.unwrap()), uid(&resource));
}

#[tokio::test]
async fn a_recreated_resource_writes_its_own_target_and_never_stalls() {
    let stage = Stage::new("recreated").await;
    stage.resource("one", Reply::token()).await;
    stage.settled("one").await;
    stage.delete("one").await;
    stage.credential("one", &source("one"), &target("one")).await;
    let resource = eventually("a target of its own", DEADLINE, async || {
        let resource = stage.get("one").await?;
        assert_eq!(condition(&resource, "Stalled"), None);
        let secret = stage.secret(&target("one")).await?;
        (controller(&secret) == uid(&resource)).then_some(resource)
    })
    .await;
    stage.settled("one").await;
    assert_eq!(uid(&stage.get("one").await.unwrap()), uid(&resource));
    assert!(stage.written("one").await.1);
}

#[tokio::test]
async fn a_running_secret_is_handed_over_by_annotation() {
    let stage = Stage::new("hand-over").await;
    let before = stage.foreign("one", json!({})).await;
    stage.resource("one", Reply::token()).await;
    stage.wait_conditions("one", NOT_OWNED).await;
    stage.edit(&target("one"), json!({ "metadata": { "annotations": { ALLOW: "one" } } })).await;
    let resource = stage.settled("one").await;
    let secret = stage.secret(&target("one")).await.unwrap();
    assert_eq!(secret.metadata.uid, before.metadata.uid, "it was never deleted");
    assert_eq!(controller(&secret), uid(&resource));
    assert_eq!(stage.secret_data(&target("one")).await["password"], "x");
    assert!(stage.written("one").await.1);

    // On from one resource to another.
    stage.delete_credential_only("one").await;
    stage.refresh_token(&source("two"), "rt-two").await;
    stage.edit(&target("one"), json!({ "metadata": { "annotations": { ALLOW: "two" } } })).await;
    stage.credential("two", &source("two"), &target("one")).await;
    let resource = stage.settled("two").await;
    let secret = stage.secret(&target("one")).await.unwrap();
    assert_eq!(secret.metadata.uid, before.metadata.uid);
    assert_eq!(controller(&secret), uid(&resource));
}

impl Stage {
    /// Deletes a resource and leaves what it owns.
    async fn delete_credential_only(&self, name: &str) {
        self.collector_has_caught_up(name).await;
        let params = kube::api::DeleteParams {
            propagation_policy: Some(kube::api::PropagationPolicy::Orphan),
            ..kube::api::DeleteParams::default()
        };
        self.credentials().delete(name, &params).await.unwrap();
        eventually("the resource to go", DEADLINE, async || self.get(name).await.is_none()).await;
    }

    /// The garbage collector leaves only those that it knows to be owned, and takes the others when it hears of them:
    /// once it has taken a Secret that was made just now, it has heard of all before.
    async fn collector_has_caught_up(&self, name: &str) {
        let nobody = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "name": "nobody", "uid": format!("{}-{name}", self.namespace),
        });
        let last = format!("{name}-last");
        self.apply_secret(&last, json!({ "metadata": { "ownerReferences": [nobody] } })).await;
        eventually("the garbage collector", DEADLINE, async || self.secret(&last).await.is_none()).await;
    }
}

#[tokio::test]
async fn what_a_cascading_orphan_leaves_is_taken_over_without_an_exchange() {
    let stage = Stage::new("cascade").await;
    stage.resource("one", Reply::token()).await;
    stage.settled("one").await;
    stage.delete_credential_only("one").await;
    let left = stage.secret(&target("one")).await.unwrap();
    assert_eq!(controller(&left), None);
    stage.credential("one", &source("one"), &target("one")).await;
    let resource = stage.settled("one").await;
    assert_eq!(controller(&stage.secret(&target("one")).await.unwrap()), uid(&resource));
    assert_eq!(stage.exchanges("one"), 1);
}

#[tokio::test]
async fn merge_writes_only_where_it_is_allowed_and_never_over_others_keys() {
    let stage = Stage::new("merge").await;
    stage.resource_with("one", json!({ "creationPolicy": "Merge" })).await;
    let missing = "Ready=False TargetNotFound, Synced=False TargetNotFound";
    let resource = stage.wait_conditions("one", missing).await;
    assert!(message(&resource, "Synced").contains(ALLOW), "{resource}");
    let refused = "Ready=False MergeNotAllowed, Synced=False MergeNotAllowed, Stalled=True MergeNotAllowed";
    let data = json!({ "stringData": { "password": "x", "token_type": "theirs" } });
    stage.apply_secret(&target("one"), data).await;
    let resource = stage.wait_conditions("one", refused).await;
    assert!(message(&resource, "Stalled").contains(ALLOW), "{resource}");
    // Allowed, but a key is taken.
    let annotated = json!({ "metadata": { "annotations": { ALLOW: "one" } } });
    let before = stage.edit(&target("one"), annotated).await;
    let resource = stage
        .wait_status("one", "the key to be named", |r| message(r, "Stalled").contains("\"token_type\""))
        .await;
    assert_eq!(conditions(&resource), refused);
    assert_eq!(stage.secret(&target("one")).await.as_ref(), Some(&before));
    assert_eq!(stage.exchanges("one"), 0);

    stage.edit(&target("one"), json!({ "data": { "token_type": null } })).await;
    stage.settled("one").await;
    let secret = stage.secret(&target("one")).await.unwrap();
    assert_eq!(keys(&secret), ["access_token", "expires_at", "issued_at", "password", "token_type"]);
    assert_eq!((labels(&secret), controller(&secret)), (BTreeMap::new(), None));

    // A template that would overwrite their key is refused; the token that is there stays good.
    let fields = |key: &str| json!({ "creationPolicy": "Merge", "template": { key: "{{ access_token }}" } });
    stage.apply("one", spec("one", fields("password"))).await;
    let held = "Ready=True TokenValid, Synced=False MergeNotAllowed, Stalled=True MergeNotAllowed";
    let resource = stage.wait_conditions("one", held).await;
    assert!(message(&resource, "Stalled").contains("\"password\""), "{resource}");
    assert_eq!(stage.exchanges("one"), 1);
    stage.apply("one", spec("one", fields("ours"))).await;
    stage.settled("one").await;
    assert_eq!(keys(&stage.secret(&target("one")).await.unwrap()), ["ours", "password"]);

    // Renewed in place; deleted with nothing taken away.
    stage.attempt("one").await;
    stage.delete("one").await;
    stage.flush().await;
    let left = stage.secret_data(&target("one")).await;
    assert_eq!(left.keys().collect::<Vec<_>>(), ["ours", "password"]);
    assert!(stage.squadcast.is_good(&left["ours"]));
}

#[tokio::test]
async fn a_withdrawn_permission_ends_merging_and_leaves_the_keys() {
    let stage = Stage::new("merge-withdrawn").await;
    stage.foreign("one", json!({ ALLOW: "one" })).await;
    stage.resource_with("one", json!({ "creationPolicy": "Merge" })).await;
    stage.settled("one").await;
    stage.edit(&target("one"), json!({ "metadata": { "annotations": { ALLOW: null } } })).await;
    stage
        .wait_status("one", "MergeNotAllowed", |r| conditions(r).contains("Stalled=True MergeNotAllowed"))
        .await;
    stage.flush().await;
    assert_eq!(
        keys(&stage.secret(&target("one")).await.unwrap()),
        ["access_token", "expires_at", "issued_at", "password", "token_type"]
    );
}

#[tokio::test]
async fn a_change_of_policy_changes_the_owner_and_costs_no_exchange() {
    let stage = Stage::new("policy").await;
    stage.resource_with("one", json!({ "labels": { "a": "b" } })).await;
    let resource = stage.settled("one").await;
    let first = stage.secret(&target("one")).await.unwrap();
    for policy in ["Orphan", "Owner", "Merge", "Owner", "Merge", "Orphan", "Owner"] {
        let fields = json!({ "creationPolicy": policy, "labels": { "a": "b" } });
        stage.apply("one", spec("one", fields)).await;
        stage.settled("one").await;
        let secret = stage.secret(&target("one")).await.unwrap();
        assert_eq!(controller(&secret), uid(&resource).filter(|_| policy == "Owner"), "{policy}");
        let labels = labels(&secret);
        assert_eq!(labels.contains_key(LABEL), policy != "Merge", "{policy}: {labels:?}");
        assert_eq!(labels.contains_key(MANAGED_BY), policy != "Merge", "{policy}: {labels:?}");
        assert_eq!(labels.get("a").map(String::as_str), Some("b"), "{policy}");
        assert_eq!((&secret.data, &secret.metadata.uid), (&first.data, &first.metadata.uid), "{policy}");
    }
    assert_eq!(stage.exchanges("one"), 1);
}

#[tokio::test]
async fn two_resources_on_one_target_are_told_apart_and_the_second_follows_the_first() {
    let stage = Stage::new("claimed").await;
    stage.resource("one", Reply::token()).await;
    stage.settled("one").await;
    stage.refresh_token(&source("two"), "rt-two").await;
    stage.credential("two", &source("two"), &target("one")).await;
    let resource = stage.wait_conditions("two", CLAIMED).await;
    let said = message(&resource, "Stalled");
    assert!(said.contains("\"one\"") && said.contains(&target("one")), "{said}");
    // One that is suspended holds on.
    stage.patch("one", json!({ "spec": { "suspend": true } })).await;
    stage.wait_conditions("one", "Ready=True TokenValid, Synced=False Suspended").await;
    stage.flush().await;
    assert_eq!(conditions(&stage.get("two").await.unwrap()), CLAIMED);
    assert_eq!(stage.exchanges("two"), 0);
    stage.delete("one").await;
    let resource = stage.settled("two").await;
    let secret = eventually("its own target", DEADLINE, async || {
        stage.secret(&target("one")).await.filter(|s| controller(s) == uid(&resource))
    })
    .await;
    assert_eq!(labels(&secret)[LABEL], "two");
    // Or the second lets go.
    stage.refresh_token(&source("three"), "rt-three").await;
    stage.credential("three", &source("three"), &target("one")).await;
    stage.wait_conditions("three", CLAIMED).await;
    let mut elsewhere = spec("two", json!({}));
    elsewhere["target"]["name"] = "elsewhere".into();
    stage.apply("two", elsewhere).await;
    stage.settled("two").await;
    stage.settled("three").await;
    let secret = stage.secret(&target("one")).await.unwrap();
    assert_eq!(labels(&secret)[LABEL], "three");
    for name in ["two", "three"] {
        let told = stage.event_reasons(name).await;
        assert!(!told.contains(&"TargetNotOwned".to_owned()), "{name} has nobody to blame: {told:?}");
    }
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

#[tokio::test]
async fn a_merged_token_counts_while_its_secret_cannot_be_written() {
    let stage = Stage::new("immutable-merge").await;
    stage.foreign("one", json!({ ALLOW: "one" })).await;
    stage.resource_with("one", json!({ "creationPolicy": "Merge" })).await;
    stage.settled("one").await;
    stage.edit(&target("one"), json!({ "immutable": true })).await;
    let held = "Ready=True TokenValid, Synced=False TargetImmutable, Stalled=True TargetImmutable";
    stage.wait_conditions("one", held).await;
    assert_eq!(stage.exchanges("one"), 1);
}

#[tokio::test]
async fn a_suspended_resource_neither_exchanges_nor_writes_and_goes_on_when_resumed() {
    let stage = Stage::new("suspend").await;
    stage.resource("one", Reply::token()).await;
    stage.settled("one").await;
    let mut suspended = spec("one", json!({ "labels": { "late": "yes" } }));
    suspended["suspend"] = true.into();
    stage.apply("one", suspended).await;
    stage.wait_conditions("one", "Ready=True TokenValid, Synced=False Suspended").await;
    let request = stage.ask("one").await;
    stage.put_secret(&source("one"), &[("refresh_token", "rt-late")]).await;
    stage.squadcast.accept("rt-late");
    stage.flush().await;
    let secret = stage.secret(&target("one")).await.unwrap();
    assert!(!labels(&secret).contains_key("late"));
    stage.delete_secret(&target("one")).await;
    let resource = stage.wait_conditions("one", "Ready=False Suspended, Synced=False Suspended").await;
    assert!(resource["status"]["lastHandledRenewRequest"].is_null(), "{resource}");
    stage.flush().await;
    assert_eq!(stage.secret(&target("one")).await, None);
    assert_eq!((stage.exchanges("one"), stage.squadcast.count("rt-late")), (1, 0));

    stage.apply("one", spec("one", json!({ "labels": { "late": "yes" } }))).await;
    stage.settled("one").await;
    stage.handled("one", &request).await;
    assert_eq!(labels(&stage.secret(&target("one")).await.unwrap())["late"], "yes");
    assert_eq!((stage.exchanges("one"), stage.squadcast.count("rt-late")), (1, 1));
}

#[tokio::test]
async fn a_suspended_resource_keeps_in_mind_that_its_refresh_token_is_rejected() {
    let stage = Stage::new("suspend-rejected").await;
    stage.resource("one", Script::of([Reply::token(), Reply::error(401)])).await;
    stage.settled("one").await;
    stage.attempt("one").await;
    stage.attempt("one").await;
    let rejected = "Ready=False RefreshTokenRejected, Synced=False RefreshTokenRejected, Stalled=True RefreshTokenRejected";
    let resource = stage.wait_conditions("one", rejected).await;
    assert!(resource["status"]["renewAt"].is_null(), "nothing is renewed: {resource}");
    stage.patch("one", json!({ "spec": { "suspend": true } })).await;
    let suspended = "Ready=False Suspended, Synced=False Suspended, Stalled=True RefreshTokenRejected";
    stage.wait_conditions("one", suspended).await;
    stage.patch("one", json!({ "spec": { "suspend": false } })).await;
    stage.wait_conditions("one", rejected).await;
    assert_eq!(stage.exchanges("one"), 4);
    stage.squadcast.accept("rt-good");
    stage.refresh_token(&source("one"), "rt-good").await;
    stage.settled("one").await;
}

#[tokio::test]
async fn a_suspended_resource_tells_of_the_expiry() {
    let stage = Stage::new("suspend-expiry").await;
    stage.resource("one", Script::of([Reply::token().life(15), Reply::token()])).await;
    stage.settled("one").await;
    stage.patch("one", json!({ "spec": { "suspend": true } })).await;
    stage.wait_conditions("one", "Ready=True TokenValid, Synced=False Suspended").await;
    let expired = stage.wait_conditions("one", "Ready=False Suspended, Synced=False Suspended").await;
    let ready = condition(&expired, "Ready").unwrap();
    let turned: jiff::Timestamp = ready["lastTransitionTime"].as_str().unwrap().parse().unwrap();
    assert!(turned >= instant(&expired, "expiresAt"), "{expired}");
    assert_eq!(stage.exchanges("one"), 1);
    stage.patch("one", json!({ "spec": { "suspend": false } })).await;
    stage.settled("one").await;
}

#[tokio::test]
async fn a_renew_request_makes_one_exchange_and_is_echoed_whatever_comes_of_it() {
    let mut stage = Stage::new("renew-request").await;
    let script = Script::of([Reply::token(), Reply::token(), Reply::error(500), Reply::token()]);
    stage.resource("one", script).await;
    stage.settled("one").await;
    let first = stage.attempt("one").await;
    assert_eq!(
        (conditions(&first).as_str(), stage.exchanges("one")),
        ("Ready=True TokenValid, Synced=True Synced", 2)
    );
    // The same value, and a restart, ask for nothing more.
    stage.patch("one", json!({ "metadata": { "labels": { "touched": "yes" } } })).await;
    stage.restart(async |_| ()).await;
    stage.flush().await;
    assert_eq!(stage.exchanges("one"), 2);
    let failed = stage.attempt("one").await;
    assert_eq!((failures(&failed), stage.exchanges("one")), (1, 3));
    // A new value overrides the back-off; whether that or the retry came first, one more exchange or two.
    let good = stage.attempt("one").await;
    assert_eq!(conditions(&good), "Ready=True TokenValid, Synced=True Synced");
    let last = stage.squadcast.minted("rt-one").pop().unwrap().access_token;
    assert_eq!(stage.written("one").await.0, last);
}

#[tokio::test]
async fn a_template_replaces_the_default_keys() {
    let stage = Stage::new("template").await;
    let template = json!({
        "authorization": "{{ token_type }} {{ access_token }}",
        "coded": "{{ access_token | b64encode }}",
        ".hidden": "{% if region == 'test' %}{{ api_url }}{% else %}none{% endif %}\n",
        "numbers.json": "{\"from\": {{ issued_at }}, \"to\": {{ expires_at + 1 }}, \"q\": \"<&>\"}",
    });
    stage.resource_with("one", json!({ "template": template })).await;
    stage.squadcast.script("rt-one", Reply::token().token_type("bearer"));
    stage.settled("one").await;
    let minted = stage.squadcast.minted("rt-one")[0].clone();
    let data = stage.secret_data(&target("one")).await;
    let coded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &minted.access_token);
    let numbers =
        format!("{{\"from\": {}, \"to\": {}, \"q\": \"<&>\"}}", minted.issued_at, minted.expires_at + 1);
    assert_eq!(data.len(), 4);
    assert_eq!(data["authorization"], format!("Bearer {}", minted.access_token));
    assert_eq!((&data["coded"], &data["numbers.json"]), (&coded, &numbers));
    assert!(data[".hidden"].starts_with("https://") && data[".hidden"].ends_with('\n'), "{data:?}");

    // Another template needs a token to render; what is not in it any more goes.
    stage.edit(&target("one"), json!({ "stringData": { "theirs": "x" } })).await;
    stage.apply("one", spec("one", json!({ "template": { "t": "{{ access_token }}" } }))).await;
    stage.settled("one").await;
    let data = stage.secret_data(&target("one")).await;
    assert_eq!(data.keys().collect::<Vec<_>>(), ["t", "theirs"]);
    assert!(stage.squadcast.is_good(&data["t"]));
    assert_eq!(stage.exchanges("one"), 2);
    stage.apply("one", spec("one", json!({}))).await;
    stage.settled("one").await;
    let data = stage.secret_data(&target("one")).await;
    assert_eq!(
        data.keys().collect::<Vec<_>>(),
        ["access_token", "expires_at", "issued_at", "theirs", "token_type"]
    );
    assert_eq!(stage.exchanges("one"), 3);
}

#[tokio::test]
async fn a_template_of_no_use_is_refused_before_an_exchange() {
    let stage = Stage::new("template-invalid").await;
    let stalled =
        |reason: &str| format!("Ready=False {reason}, Synced=False {reason}, Stalled=True {reason}");
    let big = format!("{{{{ '{}'{} }}}}", "x".repeat(7000), " | b64encode".repeat(6));
    let many: BTreeMap<String, &str> = (0..40).map(|n| (format!("k{n}"), big.as_str())).collect();
    let cases = [
        ("syntax", json!({ "bad": "one\n{{ access_token" }), "TemplateInvalid", "line 2"),
        ("undefined", json!({ "ok": "x", "bad": "{{ acces_token }}" }), "TemplateInvalid", "acces_token"),
        ("loop", json!({ "bad": "{% for i in range(9) %}x{% endfor %}" }), "TemplateInvalid", "line 1"),
        ("filter", json!({ "bad": "\n\n{{ region | nonsense }}" }), "TemplateInvalid", "line 3"),
        ("include", json!({ "bad": "{% include 'x' %}" }), "TemplateInvalid", "line 1"),
        ("large", json!(many), "TargetTooLarge", "1048576"),
    ];
    let stage = &stage;
    join_all(cases.map(async |(name, template, reason, part)| {
        stage.resource_with(name, json!({ "template": template })).await;
        let resource = stage.wait_conditions(name, &stalled(reason)).await;
        let said = message(&resource, "Stalled");
        assert!(said.contains(part), "{name}: {said}");
        assert_eq!(said.contains("\"bad\""), reason == "TemplateInvalid", "{name}: {said}");
        assert_eq!(stage.exchanges(name), 0, "{name}");
        stage.apply(name, spec(name, json!({ "template": { "ok": "{{ access_token }}" } }))).await;
        stage.settled(name).await;
        // A mistake that comes later leaves the token that is there alone.
        stage.apply(name, spec(name, json!({ "template": template }))).await;
        let held = stage
            .wait_status(name, reason, |r| conditions(r).contains(&format!("Stalled=True {reason}")))
            .await;
        assert!(conditions(&held).starts_with("Ready=True TokenValid"), "{name}: {}", conditions(&held));
        assert_eq!(keys(&stage.secret(&target(name)).await.unwrap()), ["ok"], "{name}");
        assert_eq!(stage.exchanges(name), 1, "{name}");
    }))
    .await;
}

#[tokio::test]
async fn another_refresh_token_needs_an_exchange_and_a_touched_source_none() {
    let stage = Stage::new("source-change").await;
    stage.resource("one", Reply::token()).await;
    stage.settled("one").await;
    let value = |text: &str| json!({ "refresh_token": text });
    for body in [
        json!({ "metadata": { "labels": { "a": "b" }, "annotations": { "a": "b" } }, "stringData": value("rt-one") }),
        json!({ "stringData": { "refresh_token": "rt-one", "other": "1" } }),
        json!({ "stringData": { "refresh_token": " rt-one\n", "other": "2" } }),
    ] {
        stage.apply_secret(&source("one"), body).await;
        stage.flush().await;
    }
    // Deleted and made again with the same value.
    stage.delete_secret(&source("one")).await;
    stage.put_secret(&source("one"), &[("refresh_token", "rt-one")]).await;
    stage.settled("one").await;
    stage.flush().await;
    assert_eq!(stage.exchanges("one"), 1);

    let (former, _) = stage.written("one").await;
    let before = stage.secret(&target("one")).await.unwrap();
    stage.squadcast.accept("rt-other");
    stage.put_secret(&source("one"), &[("refresh_token", "rt-other")]).await;
    stage.wait_other_token("one", &former).await;
    let after = stage.secret(&target("one")).await.unwrap();
    let print = |s: &Secret| annotations(s)["credentials.squadcast.com/refresh-token-fingerprint"].clone();
    assert_ne!(print(&before), print(&after));
    assert_eq!(print(&after).len(), 16);
    assert_eq!(stage.squadcast.count("rt-other"), 1);
    // Another key of the same Secret, and another Secret.
    stage.put_secret(&source("one"), &[("refresh_token", "rt-other"), ("second", "rt-second")]).await;
    stage.squadcast.accept("rt-second");
    let mut moved = spec("one", json!({}));
    moved["refreshTokenSecretRef"]["key"] = "second".into();
    stage.apply("one", moved).await;
    stage.settled("one").await;
    assert_eq!((stage.squadcast.count("rt-other"), stage.squadcast.count("rt-second")), (1, 1));
}

#[tokio::test]
async fn another_region_needs_an_exchange_and_ends_ready_until_then() {
    let world = World::new("region-change").await;
    let flags = [format!("--region=other={}", world.squadcast.url())];
    let stage = Stage::with(world, &flags).await;
    stage.resource("one", Script::of([Reply::token(), Reply::error(503), Reply::token()])).await;
    stage.settled("one").await;
    let mut moved = spec("one", json!({}));
    moved["region"] = "other".into();
    stage.apply("one", moved).await;
    let down = "Ready=False ServiceUnavailable, Synced=False ServiceUnavailable";
    stage.wait_conditions("one", down).await;
    stage.settled("one").await;
    assert_eq!(stage.exchanges("one"), 3);
    // And back: the token of the first region has gone.
    stage.apply("one", spec("one", json!({}))).await;
    stage.settled("one").await;
    assert_eq!(stage.exchanges("one"), 4);
}

#[tokio::test]
async fn an_exchange_that_hangs_does_not_keep_ready_true_for_another_region() {
    let world = World::new("region-hang").await;
    let flags = [format!("--region=other={}", world.squadcast.url()), "--exchange-timeout=300s".to_owned()];
    let stage = Stage::with(world, &flags).await;
    let gate = Gate::new();
    stage.resource("one", Script::of([Reply::token(), Reply::token().hold(&gate)])).await;
    let issued = stage.settled("one").await;
    // Past the pause between two exchanges, the next one is made at once.
    let due = instant(&issued, "lastRenewedAt").as_second() + 7;
    eventually("the pause to end", DEADLINE, async || jiff::Timestamp::now().as_second() > due).await;
    let mut moved = spec("one", json!({}));
    moved["region"] = "other".into();
    stage.apply("one", moved).await;
    stage.squadcast.wait_for_count("rt-one", 2, DEADLINE).await;
    stage.wait_status("one", "Ready=False", |r| conditions(r).starts_with("Ready=False")).await;
    gate.release();
    stage.settled("one").await;
}
