//! The log: JSON for collectors, text for people.

use serde_json::Value;

use crate::{
    OPERATOR,
    support::{Operator, squadcast::Reply, world::World},
};

/// The lines of a JSON log; each must be an object with what a collector needs.
fn json_lines(operator: &Operator) -> Vec<Value> {
    let lines: Vec<Value> = operator
        .log_lines()
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    for line in &lines {
        line["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        assert!(
            line["level"].is_string() && line["message"].is_string() && line["target"].is_string(),
            "{line}"
        );
    }
    lines
}

#[tokio::test]
async fn json_logs_have_one_line_for_each_outcome() {
    let world = World::new("json").await;
    world.refresh_token("source", "rt-json").await;
    world.squadcast.script("rt-json-bad", Reply::error(401));
    world.put_secret("bad", &[("refresh_token", "rt-json-bad")]).await;
    let operator = world.operator(OPERATOR, &[]).await;
    world.credential("x", "source", "target").await;
    world.wait_ready("x").await;
    world.credential("bad", "bad", "bad-token").await;
    world.wait_for("bad", "Stalled", "True", "RefreshTokenRejected").await;
    operator.wait_for_log("RefreshTokenRejected").await;
    let lines = json_lines(&operator);
    let of = |name: &str| lines.iter().filter(|line| line["name"] == name).collect::<Vec<_>>();
    for (name, level, reason) in [("x", "INFO", "Synced"), ("bad", "WARN", "RefreshTokenRejected")] {
        let [line] = of(name)[..] else { panic!("{name}: {lines:?}") };
        assert_eq!(line["level"], level, "{line}");
        assert_eq!(line["reason"], reason, "{line}");
        assert_eq!(line["namespace"], world.namespace, "{line}");
    }
}

#[tokio::test]
async fn text_logs_are_for_people() {
    let world = World::new("text").await;
    world.refresh_token("source", "rt-text").await;
    let operator = world.operator(OPERATOR, &["--log-format=text"]).await;
    world.credential("x", "source", "target").await;
    world.wait_ready("x").await;
    let line = operator.wait_for_log("name=\"x\"").await;
    assert!(
        line.contains(" INFO ") && line.contains(&format!("namespace=\"{}\"", world.namespace)),
        "{line}"
    );
    assert!(line.contains("reason=\"Synced\""), "{line}");
    assert!(!operator.log().contains(['\u{1b}', '{']), "{}", operator.log());
}
