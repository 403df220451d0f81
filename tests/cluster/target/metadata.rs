//! Labels, annotations and owners follow the spec without an exchange, and what others put beside them stays.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{LABEL, MANAGED_BY, annotations, controller, labels, uid};
use crate::{
    steps::{Stage, spec, target},
    support::Reply,
};

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
