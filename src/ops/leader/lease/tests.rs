//! The requests as an API server sees them.

use axum::http::Method;

use super::*;
use crate::ops::fake_api::{FakeApi, refusal};

fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

fn lease(holder: Option<&str>, version: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": { "name": "main", "namespace": "ops", "resourceVersion": version },
        "spec": { "holderIdentity": holder, "leaseDurationSeconds": 20, "leaseTransitions": 3 },
    })
}

fn seen(holder: Option<&str>) -> Record {
    Record {
        holder: holder.map(str::to_owned),
        resource_version: "7".to_owned(),
        duration: Duration::from_secs(20),
        transitions: 3,
    }
}

async fn answered(
    action: Action,
    answer: impl Fn() -> (u16, Value) + Send + Sync + 'static,
) -> (Result<Answer, String>, Method, String, Value) {
    let (api, clients) = FakeApi::start(move |_| answer()).await;
    let lease = KubeLease::new(clients.requests, "ops", "main");
    let answer = lease.perform(action, "a", Some(&seen(Some("b"))), now()).await;
    let (method, path, body) = api.asked().remove(0);
    (answer, method, path, body)
}

#[tokio::test]
async fn a_look_reads_one_lease() {
    let (answer, method, path, _) = answered(Action::Look, || (200, lease(Some("b"), "7"))).await;
    assert_eq!(answer, Ok(Answer::Record(seen(Some("b")))));
    assert_eq!(method, Method::GET);
    assert_eq!(path, "/apis/coordination.k8s.io/v1/namespaces/ops/leases/main");

    let (answer, ..) = answered(Action::Look, || (200, lease(Some(""), "7"))).await;
    assert_eq!(answer, Ok(Answer::Record(seen(None))), "an empty name is nobody's");
    let (answer, ..) = answered(Action::Look, || refusal(404, "NotFound", "no lease")).await;
    assert_eq!(answer, Ok(Answer::Absent));
    let (answer, ..) = answered(Action::Look, || refusal(403, "Forbidden", "no right to it")).await;
    assert_eq!(answer, Err("no right to it".to_owned()));
}

#[tokio::test]
async fn creating_fails_where_there_is_one() {
    let (answer, method, path, body) = answered(Action::Create, || (201, lease(Some("a"), "7"))).await;
    assert_eq!(answer, Ok(Answer::Record(seen(Some("a")))));
    assert_eq!(method, Method::POST);
    assert!(path.starts_with("/apis/coordination.k8s.io/v1/namespaces/ops/leases?"), "{path}");
    assert_eq!(body["metadata"], json!({ "name": "main" }));
    assert_eq!(
        body["spec"],
        json!({
            "holderIdentity": "a",
            "leaseDurationSeconds": 15,
            "acquireTime": "2026-01-02T03:04:05.000000Z",
            "renewTime": "2026-01-02T03:04:05.000000Z",
            "leaseTransitions": 0,
        })
    );

    let (answer, ..) = answered(Action::Create, || refusal(409, "AlreadyExists", "there is one")).await;
    assert_eq!(answer, Ok(Answer::Conflict));
    let (answer, ..) = answered(Action::Create, || refusal(404, "NotFound", "no such namespace")).await;
    assert_eq!(answer, Err("no such namespace".to_owned()));
}

#[tokio::test]
async fn every_patch_names_the_version_that_was_seen() {
    let (answer, method, _, body) = answered(Action::Take, || (200, lease(Some("a"), "8"))).await;
    assert!(matches!(answer, Ok(Answer::Record(record)) if record.resource_version == "8"));
    assert_eq!(method, Method::PATCH);
    assert_eq!(body["metadata"], json!({ "resourceVersion": "7" }));
    assert_eq!(body["spec"]["holderIdentity"], "a");
    assert_eq!(body["spec"]["leaseTransitions"], 4);

    let (_, _, _, body) = answered(Action::Renew, || (200, lease(Some("a"), "8"))).await;
    assert_eq!(body["metadata"], json!({ "resourceVersion": "7" }));
    assert_eq!(body["spec"].as_object().unwrap().len(), 3);

    let (answer, ..) = answered(Action::Renew, || refusal(409, "Conflict", "changed")).await;
    assert_eq!(answer, Ok(Answer::Conflict));
    let (answer, ..) = answered(Action::Renew, || refusal(404, "NotFound", "deleted")).await;
    assert_eq!(answer, Ok(Answer::Absent));
}

#[tokio::test]
async fn a_release_leaves_nobody() {
    let (api, clients) = FakeApi::start(|_| (200, lease(None, "8"))).await;
    KubeLease::new(clients.requests, "ops", "main").release(&seen(Some("a"))).await.unwrap();
    let (method, _, body) = api.asked().remove(0);
    assert_eq!(method, Method::PATCH);
    assert_eq!(body, json!({ "metadata": { "resourceVersion": "7" }, "spec": { "holderIdentity": null } }));
}
