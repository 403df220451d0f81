//! What is posted, what is dropped, and how the worker ends.

use serde_json::json;

use super::*;
use crate::ops::{
    fake_api::{FakeApi, refusal},
    shutdown::Shutdown,
};

fn about(name: &str) -> ObjectRef {
    ObjectRef { namespace: "team".to_owned(), name: name.to_owned(), uid: "u-1".to_owned() }
}

fn failed(note: &str) -> Event {
    Event { type_: EventType::Warning, reason: "RefreshTokenRejected", note: note.to_owned() }
}

fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::new(Timestamp::UNIX_EPOCH))
}

fn dropped(metrics: &Metrics) -> String {
    let text = metrics.encode();
    text.lines().find_map(|line| line.strip_prefix("squadcast_events_dropped_total ")).unwrap().to_owned()
}

fn now() -> Timestamp {
    "2026-01-02T03:04:05.678901234Z".parse().unwrap()
}

#[tokio::test]
async fn an_event_is_posted_whole() {
    let (api, clients) = FakeApi::start(|asked| (201, asked.2.clone())).await;
    let metrics = metrics();
    let (sender, worker) = queue(clients.requests, "pod-1", Arc::clone(&metrics));
    sender.send(about("main"), failed("revoked?"), now());
    drop(sender);
    worker.run(future::pending(), Duration::from_secs(5)).await;

    let asked = api.asked();
    assert_eq!(asked.len(), 1);
    let (method, path, body) = &asked[0];
    assert_eq!(method.as_str(), "POST");
    assert!(path.starts_with("/apis/events.k8s.io/v1/namespaces/team/events?"), "{path}");
    assert!(path.contains("fieldManager=squadcast-operator"), "{path}");
    let name = body["metadata"]["name"].as_str().unwrap();
    assert_eq!(
        *body,
        json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": { "name": name, "namespace": "team" },
            "type": "Warning",
            "reason": "RefreshTokenRejected",
            "note": "revoked?",
            "action": "Reconcile",
            "eventTime": "2026-01-02T03:04:05.678901Z",
            "reportingController": "squadcast-operator",
            "reportingInstance": "pod-1",
            "regarding": {
                "apiVersion": "credentials.squadcast.com/v1alpha1",
                "kind": "SquadcastCredential",
                "namespace": "team",
                "name": "main",
                "uid": "u-1",
            },
        })
    );
    assert_eq!(dropped(&metrics), "0");
}

#[test]
fn stays_within_what_the_api_server_accepts() {
    let queued = |note: String| Queued { about: about("main"), event: failed(&note), at: now() };
    let long = render(queued("ü".repeat(1000)), "pod").note.unwrap();
    assert!(long.len() <= NOTE && long.len() > NOTE - 5 && long.ends_with("ü…"));
    assert_eq!(render(queued("u".repeat(NOTE)), "pod").note.unwrap(), "u".repeat(NOTE));

    let name = event_name(&format!("{}.{}", "a".repeat(235), "b".repeat(17)));
    assert!(name.len() <= NAME);
    assert!(name.starts_with(&format!("{}.", "a".repeat(235))) && !name.contains(".."), "{name}");
    assert_ne!(event_name("main"), event_name("main"));
}

#[tokio::test]
async fn a_full_queue_drops_and_counts_and_waits_for_nobody() {
    let (_, clients) = FakeApi::start(|asked| (201, asked.2.clone())).await;
    let metrics = metrics();
    let (sender, worker) = queue(clients.requests, "pod-1", Arc::clone(&metrics));
    for _ in 0..QUEUE + 3 {
        sender.send(about("main"), failed("x"), now());
    }
    assert_eq!(dropped(&metrics), "3");
    drop(worker);
    sender.send(about("main"), failed("x"), now());
    assert_eq!(dropped(&metrics), "4");
}

#[tokio::test]
async fn what_is_queued_is_posted_after_the_wish_to_stop() {
    let (api, clients) = FakeApi::start(|asked| (201, asked.2.clone())).await;
    let (sender, worker) = queue(clients.requests, "pod-1", metrics());
    for _ in 0..50 {
        sender.send(about("main"), failed("x"), now());
    }
    let shutdown = Shutdown::default();
    shutdown.request();
    worker.run(shutdown.requested(), Duration::from_secs(20)).await;
    assert_eq!(api.asked().len(), 50);
}

#[tokio::test]
async fn an_api_server_that_does_not_answer_does_not_hold_up_the_end() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let clients = crate::ops::clients::from_config(&kube::Config::new(url.parse().unwrap())).unwrap();
    let (sender, worker) = queue(clients.requests, "pod-1", metrics());
    sender.send(about("main"), failed("x"), now());
    let shutdown = Shutdown::default();
    shutdown.request();
    let begun = Instant::now();
    worker.run(shutdown.requested(), Duration::from_millis(100)).await;
    assert!(begun.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn failures_are_counted_but_not_in_a_namespace_that_ends() {
    let (api, clients) = FakeApi::start(|(_, path, _)| {
        if path.contains("/ending/") {
            let (code, mut body) = refusal(403, "Forbidden", "it is being terminated");
            body["details"] = json!({"causes": [{"reason": "NamespaceTerminating", "message": "x"}]});
            (code, body)
        } else if path.contains("/gone/") {
            refusal(404, "NotFound", "no such namespace")
        } else {
            refusal(403, "Forbidden", "no right")
        }
    })
    .await;
    let metrics = metrics();
    let (sender, worker) = queue(clients.requests, "pod-1", Arc::clone(&metrics));
    for namespace in ["ending", "gone", "team"] {
        sender.send(ObjectRef { namespace: namespace.to_owned(), ..about("main") }, failed("x"), now());
    }
    drop(sender);
    worker.run(future::pending(), Duration::from_secs(5)).await;
    assert_eq!(api.asked().len(), 3);
    assert_eq!(dropped(&metrics), "1");
}
