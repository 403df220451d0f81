//! `--require-source-label`: what the operator watches and reads then, and that targets are kept all the same.

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::{
    steps::{Stage, message, source, spec, target, token},
    support::{DEADLINE, Operator, Reply, audit::Request, eventually, world::World},
};

const SOURCE: &str = "credentials.squadcast.com/refresh-token";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const ALLOW: &str = "credentials.squadcast.com/allow-write-by";
const NOT_ALLOWED: &str = "Ready=True TokenValid, Synced=False RefreshTokenNotAllowed";

async fn stage(name: &str) -> Stage {
    Stage::with(World::new(name).await, &["--require-source-label".to_owned()]).await
}

impl Stage {
    /// The Secret with the refresh token of this resource, with this value of the label.
    async fn labelled(&self, name: &str, label: &str) {
        let labels = json!({ SOURCE: label });
        let data = json!({ "refresh_token": token(name) });
        self.squadcast.script(&token(name), Reply::token());
        self.apply_secret(&source(name), json!({ "metadata": { "labels": labels }, "stringData": data }))
            .await;
    }

    async fn change(&self, secret: &str, patch: Value) {
        let params = PatchParams { field_manager: Some("somebody".into()), ..PatchParams::default() };
        let patched = self.secrets().patch(secret, &params, &Patch::Merge(patch)).await;
        patched.unwrap_or_else(|error| panic!("Secret {secret}: {error}"));
    }

    /// How often this operator has read a Secret by its name.
    fn reads(&self, operator: &Operator, secret: &str) -> usize {
        let requests = self.requests_of(operator);
        requests.iter().filter(|r| r.what() == "get secrets" && r.name == secret).count()
    }

    /// Changes the spec, so that the operator looks again, and waits until it has.
    async fn look_again(&self, name: &str) -> Value {
        let labels = json!({ "looked": self.get(name).await.unwrap()["metadata"]["resourceVersion"] });
        self.patch(name, json!({ "spec": { "target": { "labels": labels } } })).await;
        self.wait_status(name, "the spec to be seen", |r| {
            r["status"]["observedGeneration"] == r["metadata"]["generation"]
        })
        .await
    }

    /// Lets the operator show that it has seen everything up to now.
    async fn pass(&self, name: &str) {
        self.labelled(name, "true").await;
        self.credential(name, &source(name), &target(name)).await;
        self.settled(name).await;
    }
}

#[tokio::test]
async fn no_unlabelled_secret_is_watched_or_read_as_a_source() {
    let stage = stage("label-read").await;
    let operator = &stage.operator;
    stage.labelled("one", "false").await;
    stage.credential("one", &source("one"), &target("one")).await;
    stage
        .wait_conditions("one", "Ready=False RefreshTokenNotAllowed, Synced=False RefreshTokenNotAllowed")
        .await;
    assert_eq!(stage.reads(operator, &source("one")), 0);

    let requests = stage.requests_of(operator);
    let of_all = requests.iter().filter(|r| r.resource == "secrets" && r.name.is_empty());
    let selected: std::collections::BTreeSet<_> = of_all
        .map(|r| {
            let labels = [format!("{SOURCE}=true"), format!("{MANAGED_BY}=squadcast-operator")];
            let encoded = r.uri.replace("%2F", "/").replace("%3D", "=");
            let found = labels.into_iter().find(|l| encoded.contains(&format!("labelSelector={l}")));
            found.unwrap_or_else(|| panic!("{} {}", r.verb, r.uri))
        })
        .collect();
    assert_eq!(selected.len(), 2, "{selected:?}");

    stage.labelled("one", "true").await;
    stage.settled("one").await;
    // The label taken away again: the token that is there stays good, and the source is not read any more.
    stage.labelled("one", "yes").await;
    let resource = stage.wait_conditions("one", NOT_ALLOWED).await;
    assert!(message(&resource, "Synced").contains(&format!("{SOURCE}: \"true\"")), "{resource}");
    let reads = stage.reads(operator, &source("one"));
    stage.look_again("one").await;
    assert_eq!(stage.reads(operator, &source("one")), reads);

    // A Secret that is watched as somebody's target is no source either.
    let reads = stage.reads(operator, &target("one"));
    stage.credential("two", &target("one"), &target("two")).await;
    stage.wait_for("two", "Synced", "False", "RefreshTokenNotAllowed").await;
    assert_eq!(stage.reads(operator, &target("one")), reads);
    stage.labelled("one", "true").await;
    stage.settled("one").await;
    assert_eq!(stage.exchanges("one"), 1);
}

#[tokio::test]
async fn a_target_of_its_own_is_watched_and_a_foreign_one_left_alone() {
    let stage = stage("label-owner").await;
    stage.labelled("one", "true").await;
    stage.credential("one", &source("one"), &target("one")).await;
    stage.settled("one").await;
    let before = stage.requests_of(&stage.operator);
    assert_eq!(before.iter().filter(|r| r.what() == "create secrets").count(), 1);

    for (number, patch) in [
        (1, json!({ "metadata": { "labels": { MANAGED_BY: null } } })),
        (2, json!({ "data": { "access_token": "eA==" } })),
    ] {
        stage.change(&target("one"), patch).await;
        eventually("the target to be as it was", DEADLINE, async || {
            let secret = stage.secret(&target("one")).await.ok_or("no Secret")?;
            let labels = secret.metadata.labels.clone().unwrap_or_default();
            let whole = labels.get(MANAGED_BY).is_some_and(|v| v == "squadcast-operator");
            if whole && stage.written("one").await.1 { Ok(()) } else { Err(format!("{labels:?}")) }
        })
        .await;
        assert_eq!(stage.exchanges("one"), number);
    }
    stage.delete_secret(&target("one")).await;
    eventually("another token", DEADLINE, async || stage.written("one").await.1).await;
    assert_eq!(stage.exchanges("one"), 3);

    let foreign = json!({ "stringData": { "password": "x" } });
    let foreign = stage.apply_secret(&target("two"), foreign).await;
    for policy in ["Owner", "Orphan"] {
        stage.labelled("two", "true").await;
        stage.apply("two", spec("two", json!({ "creationPolicy": policy }))).await;
        stage.wait_for("two", "Stalled", "True", "TargetNotOwned").await;
        stage.look_again("two").await;
        stage.wait_for("two", "Stalled", "True", "TargetNotOwned").await;
    }
    assert_eq!(stage.secret(&target("two")).await, Some(foreign));
    assert_eq!(stage.exchanges("two"), 0);
}

#[tokio::test]
async fn an_unlabelled_target_is_merged_into_and_read_at_each_reconcile() {
    let mut stage = stage("label-merge").await;
    let annotations = json!({ ALLOW: "one" });
    let theirs = json!({ "metadata": { "annotations": annotations }, "stringData": { "password": "x" } });
    stage.apply_secret(&target("one"), theirs).await;
    stage.labelled("one", "true").await;
    stage.apply("one", spec("one", json!({ "creationPolicy": "Merge" }))).await;
    stage.settled("one").await;
    assert!(stage.written("one").await.1);
    let labels = stage.secret(&target("one")).await.unwrap().metadata.labels;
    assert_eq!(labels.unwrap_or_default().get(MANAGED_BY), None);

    // No watch tells of an edit; whenever it looks, the operator sees it.
    stage.change(&target("one"), json!({ "data": { "access_token": "eA==" } })).await;
    stage.look_again("one").await;
    stage.settled("one").await;
    assert!(stage.written("one").await.1);
    assert_eq!(stage.exchanges("one"), 2);

    stage.restart(async |_| {}).await;
    stage.pass("passed").await;
    assert_eq!(stage.exchanges("one"), 2);
    let requests = stage.requests_of(&stage.operator);
    let about =
        requests.iter().filter(|r| r.name == "one" || r.name == target("one") || r.name == source("one"));
    // Once each, although nothing but the read itself tells that there is nothing to do.
    assert_eq!(about.map(Request::what).collect::<Vec<_>>(), ["get secrets", "get secrets"]);

    stage.delete_secret(&target("one")).await;
    stage.look_again("one").await;
    stage.wait_conditions("one", "Ready=False TargetNotFound, Synced=False TargetNotFound").await;
    assert_eq!(stage.exchanges("one"), 2);
}
