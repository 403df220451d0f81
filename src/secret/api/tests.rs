//! What requests carry.

use serde_json::json;

use super::*;
use crate::ops::fake_api::{FakeApi, refusal};

fn examined() -> SecretFacts {
    let metadata = json!({ "name": "former", "uid": "u-1", "resourceVersion": "7" });
    serde_json::from_value::<SecretMeta>(json!({ "metadata": metadata })).unwrap().facts
}

#[tokio::test]
async fn a_deletion_is_of_the_secret_that_was_examined_and_of_no_other() {
    let (api, clients) = FakeApi::start(|_| (200, json!({ "kind": "Status", "status": "Success" }))).await;
    delete(&clients.requests, "team", "former", &examined()).await.unwrap();
    let asked = api.asked();
    assert_eq!(asked.len(), 1);
    let (method, path, body) = &asked[0];
    assert_eq!((method.as_str(), path.as_str()), ("DELETE", "/api/v1/namespaces/team/secrets/former"));
    assert_eq!(body["preconditions"], json!({ "uid": "u-1", "resourceVersion": "7" }));
}

#[tokio::test]
async fn one_that_is_gone_is_deleted_and_one_that_has_changed_is_not() {
    for (code, deleted) in [(404, true), (409, false)] {
        let (_, clients) = FakeApi::start(move |_| refusal(code, "No", "no")).await;
        let result = delete(&clients.requests, "team", "former", &examined()).await;
        assert_eq!(result.is_ok(), deleted, "{code}");
    }
}
