//! The whole text, name by name and label by label.

use std::sync::Mutex;

use super::*;
use crate::api::{ConditionType, Key};

struct Two(Mutex<bool>);

impl CredentialSource for Two {
    fn undecodable(&self) -> usize {
        2
    }

    fn for_each(&self, show: &mut dyn FnMut(&Key, &CredentialSample)) {
        show(
            &Key::new("team", "main"),
            &CredentialSample {
                ready: true,
                expires_at: Some(1_587_412_870),
                renew_at: Some(1_587_355_000),
                failures: 0,
                conditions: [
                    Some((ConditionType::Ready, true, Reason::TokenValid)),
                    Some((ConditionType::Synced, true, Reason::Synced)),
                    None,
                ],
            },
        );
        if *self.0.lock().unwrap() {
            show(
                &Key::new("team", "new"),
                &CredentialSample {
                    ready: false,
                    expires_at: None,
                    renew_at: None,
                    failures: 3,
                    conditions: [None, None, Some((ConditionType::Stalled, true, Reason::UnknownRegion))],
                },
            );
        }
    }
}

fn used() -> (Metrics, Arc<Two>) {
    let metrics = Metrics::new(Timestamp::from_second(1_600_000_000).unwrap());
    let source = Arc::new(Two(Mutex::new(true)));
    metrics.credentials_from(Arc::clone(&source) as Arc<dyn CredentialSource>);
    metrics.region("us");
    metrics.exchange("us", Ok(()), 0.5);
    metrics.exchange("us", Ok(()), 20.0);
    metrics.exchange("us", Err(Reason::RateLimited), 0.007_812_5);
    metrics.rotation("us");
    metrics.reconcile("done", 0.02);
    metrics.event_dropped();
    metrics.leader(true);
    (metrics, source)
}

/// The samples of a text, sorted, without those that change from run to run.
fn samples(text: &str) -> Vec<&str> {
    let changing = |line: &&str| line.starts_with("process_") && !line.starts_with("process_start_time");
    let mut lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#') && !changing(line)).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn every_name_and_label() {
    let (metrics, _) = used();
    let text = metrics.encode();
    let build = format!(
        "squadcast_operator_build_info{{version=\"{}\",revision=\"{}\"}} 1",
        env!("CARGO_PKG_VERSION"),
        revision()
    );
    let mut expected: Vec<&str> = EXPECTED.lines().chain([build.as_str()]).collect();
    expected.sort_unstable();
    assert_eq!(samples(&text), expected);
}

#[test]
fn every_sample_is_described_once_by_its_own_name() {
    let (metrics, _) = used();
    let text = metrics.encode();
    let mut described = std::collections::BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        match (words.next(), words.next(), words.next()) {
            (Some("#"), Some("TYPE"), Some(name)) => {
                assert_eq!(described.insert(name, words.next()), None, "{name} is described twice");
            }
            (Some("#"), Some("HELP"), Some(_)) => assert!(line.ends_with('.') && !line.ends_with("..")),
            (Some("#"), ..) => panic!("unexpected comment: {line}"),
            (Some(sample), ..) => {
                let name = sample.split('{').next().unwrap();
                let histogram = ["_sum", "_count", "_bucket"].iter().find_map(|end| name.strip_suffix(end));
                let kind = described.get(histogram.unwrap_or(name)).copied().flatten();
                let expected = match histogram {
                    Some(_) => "histogram",
                    None if name.ends_with("_total") => "counter",
                    None => "gauge",
                };
                assert_eq!(kind, Some(expected), "{line}");
            }
            _ => {}
        }
    }
    if cfg!(target_os = "linux") {
        for name in ["process_resident_memory_bytes", "process_open_fds", "process_cpu_seconds_total"] {
            assert!(described.contains_key(name), "{name}");
        }
    }
}

#[test]
fn single_resources_are_shown_by_the_leader_only_and_go_with_the_resource() {
    let (metrics, source) = used();
    assert!(metrics.encode().contains("squadcast_credential_ready{namespace=\"team\",name=\"new\"} 0"));
    *source.0.lock().unwrap() = false;
    let text = metrics.encode();
    assert!(text.contains("name=\"main\"") && !text.contains("name=\"new\""));
    metrics.leader(false);
    let text = metrics.encode();
    assert!(!text.contains("squadcast_credential_"));
    assert!(text.contains("\nsquadcast_operator_leader 0\n"));
}

const EXPECTED: &str = r#"process_start_time_seconds 1600000000
squadcast_credential_condition{namespace="team",name="main",type="Ready",status="True",reason="TokenValid"} 1
squadcast_credential_condition{namespace="team",name="main",type="Synced",status="True",reason="Synced"} 1
squadcast_credential_condition{namespace="team",name="new",type="Stalled",status="True",reason="UnknownRegion"} 1
squadcast_credential_expiry_timestamp_seconds{namespace="team",name="main"} 1587412870
squadcast_credential_failures{namespace="team",name="main"} 0
squadcast_credential_failures{namespace="team",name="new"} 3
squadcast_credential_ready{namespace="team",name="main"} 1
squadcast_credential_ready{namespace="team",name="new"} 0
squadcast_credential_renewal_timestamp_seconds{namespace="team",name="main"} 1587355000
squadcast_events_dropped_total 1
squadcast_exchange_duration_seconds_bucket{le="+Inf",region="us"} 3
squadcast_exchange_duration_seconds_bucket{le="0.05",region="us"} 1
squadcast_exchange_duration_seconds_bucket{le="0.1",region="us"} 1
squadcast_exchange_duration_seconds_bucket{le="0.25",region="us"} 1
squadcast_exchange_duration_seconds_bucket{le="0.5",region="us"} 2
squadcast_exchange_duration_seconds_bucket{le="1.0",region="us"} 2
squadcast_exchange_duration_seconds_bucket{le="10.0",region="us"} 2
squadcast_exchange_duration_seconds_bucket{le="15.0",region="us"} 2
squadcast_exchange_duration_seconds_bucket{le="2.5",region="us"} 2
squadcast_exchange_duration_seconds_bucket{le="5.0",region="us"} 2
squadcast_exchange_duration_seconds_count{region="us"} 3
squadcast_exchange_duration_seconds_sum{region="us"} 20.5078125
squadcast_exchanges_total{region="us",outcome="RateLimited"} 1
squadcast_exchanges_total{region="us",outcome="success"} 2
squadcast_operator_leader 1
squadcast_reconcile_duration_seconds_bucket{le="+Inf"} 1
squadcast_reconcile_duration_seconds_bucket{le="0.005"} 0
squadcast_reconcile_duration_seconds_bucket{le="0.01"} 0
squadcast_reconcile_duration_seconds_bucket{le="0.025"} 1
squadcast_reconcile_duration_seconds_bucket{le="0.05"} 1
squadcast_reconcile_duration_seconds_bucket{le="0.1"} 1
squadcast_reconcile_duration_seconds_bucket{le="0.25"} 1
squadcast_reconcile_duration_seconds_bucket{le="0.5"} 1
squadcast_reconcile_duration_seconds_bucket{le="1.0"} 1
squadcast_reconcile_duration_seconds_bucket{le="10.0"} 1
squadcast_reconcile_duration_seconds_bucket{le="2.5"} 1
squadcast_reconcile_duration_seconds_bucket{le="30.0"} 1
squadcast_reconcile_duration_seconds_count 1
squadcast_reconcile_duration_seconds_sum 0.02
squadcast_reconciles_total{outcome="done"} 1
squadcast_refresh_token_rotations_total{region="us"} 1
squadcast_undecodable_objects 2"#;
