//! The chart's alerts: `alerts.yaml` says what each fires on, and that a healthy day is silent.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::prometheus::{program, rules};
use crate::release::{chart, objects};
use crate::support::controlplane::{helm, repository};

/// What promtool says to this; it has to succeed.
fn promtool(args: &[&str]) -> String {
    let output = Command::new(program("promtool"))
        .args(args)
        .current_dir(repository().join("tests/cluster_monitoring"))
        .stdin(Stdio::null())
        .output()
        .expect("promtool");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {args:?}: {said}");
    said.into_owned()
}

#[test]
fn each_alert_fires_on_its_fault_and_none_on_a_healthy_day() {
    promtool(&["test", "rules", "alerts.yaml"]);
}

#[test]
fn each_alert_is_tried_out_and_says_what_it_should() {
    let path = "../../charts/squadcast-operator/files/rules.yaml";
    promtool(&["check", "rules", "--lint=all", "--lint-fatal", path]);
    let tests = std::fs::read_to_string(repository().join("tests/cluster_monitoring/alerts.yaml")).unwrap();
    let tests: Value = serde_saphyr::from_str(&tests).unwrap();
    let tried = |alert: &str| {
        let cases = tests["tests"].as_array().unwrap().iter();
        let mut alerts = cases.flat_map(|case| case["alert_rule_test"].as_array().into_iter().flatten());
        alerts.any(|test| test["alertname"] == alert && test["exp_alerts"][0].is_object())
    };
    let rules: Value = serde_saphyr::from_str(&rules()).unwrap();
    for rule in rules["groups"][0]["rules"].as_array().unwrap() {
        let alert = rule["alert"].as_str().unwrap();
        assert!(tried(alert), "alerts.yaml lets {alert} never fire");
        assert!(["critical", "warning"].contains(&rule["labels"]["severity"].as_str().unwrap()), "{alert}");
        for note in ["summary", "description", "runbook_url"] {
            assert!(rule["annotations"][note].is_string(), "{alert} has no {note}");
        }
        // What is about one resource names it.
        if rule["expr"].as_str().unwrap().contains("(namespace, name)") {
            let summary = rule["annotations"]["summary"].as_str().unwrap();
            assert!(summary.contains("{{ $labels.namespace }}/{{ $labels.name }}"), "{alert}: {summary}");
        }
    }
}

#[test]
fn the_chart_installs_the_alerts_as_they_are_tried_out() {
    let values = json!({ "metrics": { "prometheusRule": { "enabled": true } } });
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("values.json");
    std::fs::write(&input, values.to_string()).unwrap();
    let output = Command::new(helm::program())
        .args(["template", "x", chart().to_str().unwrap(), "-f", input.to_str().unwrap()])
        .env("HOME", folder.path())
        .output()
        .expect("helm");
    let rendered = objects(&String::from_utf8_lossy(&output.stdout));
    let rule = rendered.iter().find(|object| object["kind"] == "PrometheusRule").expect("a PrometheusRule");
    let wanted: Value = serde_saphyr::from_str(&rules()).unwrap();
    assert_eq!(rule["spec"], wanted);
}
