//! A target with another name: the new Secret is written, then the former one goes.

use serde_json::json;

use crate::{
    administrator::{forbid_deletion, permit},
    steps::{Stage, assert_backed_off, failures, message, spec},
    support::{DEADLINE, Reply, eventually},
};

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
