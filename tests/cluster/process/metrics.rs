//! The metrics: names, types, labels, and that those of a resource go with it.

use std::collections::BTreeMap;

use crate::OPERATOR;
use crate::support::squadcast::Reply;
use crate::support::world::World;
use crate::support::{DEADLINE, eventually, eventually::unless};

/// One line of the metrics that is no comment.
#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// Types by name, and samples.
fn parse(text: &str) -> (BTreeMap<String, String>, Vec<Sample>) {
    let mut types = BTreeMap::new();
    let mut samples = Vec::new();
    for line in text.lines() {
        if let Some(described) = line.strip_prefix("# TYPE ") {
            let (name, kind) = described.split_once(' ').unwrap();
            assert!(text.contains(&format!("# HELP {name} ")), "{name}");
            assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) =
                series.strip_suffix('}').and_then(|s| s.split_once('{')).unwrap_or((series, ""));
            let labels = labels.split("\",").filter(|label| !label.is_empty()).map(|label| {
                let (name, value) = label.split_once("=\"").unwrap();
                (name.to_owned(), value.trim_end_matches('"').to_owned())
            });
            let (labels, value) = (labels.collect(), value.parse().unwrap());
            samples.push(Sample { name: name.to_owned(), labels, value });
        }
    }
    (types, samples)
}

/// The value of the one sample with this name and at least these labels.
fn value(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> f64 {
    let has = |sample: &&Sample| {
        sample.name == name
            && labels.iter().all(|(label, value)| sample.labels.get(*label).is_some_and(|v| v == value))
    };
    let mut found = samples.iter().filter(has);
    let first = found.next().unwrap_or_else(|| panic!("no {name} {labels:?}"));
    assert!(found.next().is_none(), "several {name} {labels:?}");
    first.value
}

const METRICS: [(&str, &str, &[&str]); 17] = [
    ("squadcast_credential_ready", "gauge", &["name", "namespace"]),
    ("squadcast_credential_expiry_timestamp_seconds", "gauge", &["name", "namespace"]),
    ("squadcast_credential_renewal_timestamp_seconds", "gauge", &["name", "namespace"]),
    ("squadcast_credential_failures", "gauge", &["name", "namespace"]),
    ("squadcast_credential_condition", "gauge", &["name", "namespace", "reason", "status", "type"]),
    ("squadcast_exchanges_total", "counter", &["outcome", "region"]),
    ("squadcast_exchange_duration_seconds", "histogram", &["region"]),
    ("squadcast_refresh_token_rotations_total", "counter", &["region"]),
    ("squadcast_reconciles_total", "counter", &["outcome"]),
    ("squadcast_reconcile_duration_seconds", "histogram", &[]),
    ("squadcast_undecodable_objects", "gauge", &[]),
    ("squadcast_operator_leader", "gauge", &[]),
    ("squadcast_operator_build_info", "gauge", &["revision", "version"]),
    ("process_resident_memory_bytes", "gauge", &[]),
    ("process_cpu_seconds_total", "counter", &[]),
    ("process_open_fds", "gauge", &[]),
    ("process_start_time_seconds", "gauge", &[]),
];

#[tokio::test]
async fn metrics_have_their_types_and_labels_and_go_with_the_resource() {
    let world = World::new("metrics").await;
    let space = world.namespace.clone();
    world.squadcast.script("rt-good", Reply::token().refresh_token("rt-next"));
    world.squadcast.script("rt-bad", Reply::error(503));
    world.put_secret("good", &[("refresh_token", "rt-good")]).await;
    world.put_secret("bad", &[("refresh_token", "rt-bad")]).await;
    let operator = world.operator(OPERATOR, &[]).await;
    world.credential("good", "good", "good-token").await;
    world.credential("bad", "bad", "bad-token").await;
    let good = world.wait_ready("good").await;
    world.wait_for("bad", "Ready", "False", "ServiceUnavailable").await;
    // The metrics know of a status when the watch has told of it.
    eventually("both in the metrics", DEADLINE, async || {
        let text = operator.metrics();
        let shown = |reason: &str| text.contains(&format!("reason=\"{reason}\"}} 1"));
        unless(shown("TokenValid") && shown("ServiceUnavailable"), text)
    })
    .await;

    let (types, samples) = parse(&operator.metrics());
    for (name, kind, labels) in METRICS {
        assert_eq!(types.get(name).map(String::as_str), Some(kind), "{name}");
        let series = if kind == "histogram" { format!("{name}_count") } else { name.to_owned() };
        let of_name: Vec<_> = samples.iter().filter(|sample| sample.name == series).collect();
        assert!(!of_name.is_empty(), "{series}");
        for sample in of_name {
            assert_eq!(sample.labels.keys().collect::<Vec<_>>(), labels, "{series}");
        }
    }
    let of = |name: &str, resource: &str| {
        value(&samples, &format!("squadcast_credential_{name}"), &[("namespace", &space), ("name", resource)])
    };
    let seconds = |field: &str| {
        let at: jiff::Timestamp = good["status"][field].as_str().unwrap().parse().unwrap();
        at.as_duration().as_secs_f64()
    };
    let same = |a: f64, b: f64| (a - b).abs() < 0.5;
    assert!(same(of("ready", "good"), 1.0) && same(of("ready", "bad"), 0.0));
    assert!(same(of("expiry_timestamp_seconds", "good"), seconds("expiresAt")));
    assert!(same(of("renewal_timestamp_seconds", "good"), seconds("renewAt")));
    assert!(same(of("failures", "good"), 0.0) && of("failures", "bad") > 0.5);
    for (resource, kind, status, reason) in [
        ("good", "Ready", "True", "TokenValid"),
        ("good", "Synced", "True", "Synced"),
        ("bad", "Ready", "False", "ServiceUnavailable"),
        ("bad", "Synced", "False", "ServiceUnavailable"),
    ] {
        let labels = [("name", resource), ("type", kind), ("status", status), ("reason", reason)];
        assert!(same(value(&samples, "squadcast_credential_condition", &labels), 1.0));
    }
    let conditions = samples.iter().filter(|sample| sample.name == "squadcast_credential_condition");
    assert_eq!(conditions.count(), 4);
    let of_test =
        |outcome| value(&samples, "squadcast_exchanges_total", &[("region", "test"), ("outcome", outcome)]);
    assert!(same(of_test("success"), 1.0) && of_test("ServiceUnavailable") > 0.5);
    assert!(value(&samples, "squadcast_exchange_duration_seconds_count", &[("region", "test")]) > 1.5);
    assert!(same(value(&samples, "squadcast_refresh_token_rotations_total", &[("region", "test")]), 1.0));
    assert!(same(value(&samples, "squadcast_operator_leader", &[]), 1.0));
    assert!(same(value(&samples, "squadcast_undecodable_objects", &[]), 0.0));
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    assert!(same(value(&samples, "squadcast_operator_build_info", &version), 1.0));
    assert!(value(&samples, "process_resident_memory_bytes", &[]) > 1e6);
    // Events are sent beside the work, not before it.
    eventually("the event of the rotation", DEADLINE, async || {
        let reasons = world.event_reasons("good").await;
        unless(reasons.iter().filter(|reason| *reason == "RefreshTokenRotated").count() == 1, reasons)
    })
    .await;

    world.delete("bad").await;
    eventually("the deleted resource's series to go", DEADLINE, async || {
        let text = operator.metrics();
        unless(!text.contains("name=\"bad\""), text)
    })
    .await;
    let (_, samples) = parse(&operator.metrics());
    let labels = [("namespace", &*space), ("name", "good")];
    assert!(same(value(&samples, "squadcast_credential_ready", &labels), 1.0));
}
