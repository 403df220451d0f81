//! The chart's dashboard: every query finds data among the metrics of a real operator, scraped by a real Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use crate::OPERATOR;
use crate::document::write;
use crate::prometheus::Prometheus;
use crate::release::file;
use crate::support::world::World;
use crate::support::{DEADLINE, Reply, Script, eventually};

const HEAD: &str = "# The dashboard's data

What the panels of `charts/squadcast-operator/files/dashboard.json` showed in a run of the tests: four resources, of which one
fails to be renewed, one was refused, and one waits for its Secret. `make pages` writes this page; the test
`cluster_monitoring dashboard::every_panel_shows_data_of_a_real_operator` goes red when a query of a panel finds no data.

| panel | series | value |
|---|---|---|
";

/// A query as Grafana would send it.
fn sent(expression: &str) -> String {
    expression.replace("$__rate_interval", "30s").replace("$namespace", ".*")
}

/// What a legend makes of a series.
fn legend(format: &str, series: &Value) -> String {
    let mut text = format.to_owned();
    for (label, value) in series["metric"].as_object().into_iter().flatten() {
        text = text.replace(&format!("{{{{{label}}}}}"), value.as_str().unwrap_or_default());
    }
    assert!(!text.contains("{{"), "the legend {format} names a label that is not there: {series}");
    text
}

/// Each series of a query by its legend with its value; an error until there are some, and none of them is no number.
fn shown(prometheus: &Prometheus, target: &Value) -> Result<Vec<(String, f64)>, String> {
    let expression = sent(target["expr"].as_str().expect("a query"));
    let series = prometheus.query(&expression)?;
    let mut shown = Vec::new();
    for one in &series {
        let value: f64 = one["value"][1].as_str().and_then(|value| value.parse().ok()).expect("a value");
        if !value.is_finite() {
            return Err(format!("{expression}: {one}"));
        }
        shown.push((legend(target["legendFormat"].as_str().expect("a legend"), one), value));
    }
    shown.sort_by(|a, b| a.0.cmp(&b.0));
    if shown.is_empty() { Err(format!("nothing for {expression}")) } else { Ok(shown) }
}

/// A value as the panel's unit shows it.
fn value_in(unit: &str, value: f64) -> String {
    match unit {
        "s" => format!("{value:.3} s"),
        "bytes" => format!("{:.1} MiB", value / 1024.0 / 1024.0),
        "percentunit" => format!("{:.1} %", value * 100.0),
        "reqps" | "ops" => format!("{value:.2}/s"),
        _ => format!("{value:.0}"),
    }
}

async fn play(world: &World) {
    for name in ["good", "refused", "failing"] {
        world.refresh_token(&format!("{name}-source"), &format!("rt-{name}")).await;
    }
    world.squadcast.script("rt-good", Reply::token().rotates());
    // Due soon, and then refused.
    world.squadcast.script("rt-failing", Script::of([Reply::token().life(24), Reply::error(503)]));
    for name in ["good", "refused", "failing", "waiting"] {
        world.credential(name, &format!("{name}-source"), &format!("{name}-token")).await;
        if name != "waiting" {
            world.wait_ready(name).await;
        }
    }
    world.squadcast.revoke("rt-refused");
    world.delete_secret("refused-token").await;
    world.wait_for("refused", "Stalled", "True", "RefreshTokenRejected").await;
    world.wait_for("waiting", "Ready", "False", "RefreshTokenSecretNotFound").await;
    world.wait_for("failing", "Synced", "False", "ServiceUnavailable").await;
}

/// The values are those of the four resources.
fn tells_what_was_played(values: &BTreeMap<String, f64>, namespace: &str) {
    let value = |series: &str| *values.get(series).unwrap_or_else(|| panic!("no {series}: {values:?}"));
    // The token of `failing` may expire while the panels are looked at.
    assert!([1.0, 2.0].contains(&value("Ready: ready")), "{values:?}");
    assert!([2.0, 3.0].contains(&value("Not ready: not ready")), "{values:?}");
    let wrong = |what: &str| format!("What is wrong: {namespace}/{what}");
    for (series, wanted) in [
        ("Stalled: stalled".to_owned(), 1.0),
        ("Leaders: leaders".to_owned(), 1.0),
        ("Undecodable: undecodable".to_owned(), 0.0),
        (wrong("failing Synced ServiceUnavailable"), 1.0),
        (wrong("refused Ready RefreshTokenRejected"), 1.0),
        (wrong("refused Stalled RefreshTokenRejected"), 1.0),
        (wrong("waiting Ready RefreshTokenSecretNotFound"), 1.0),
    ] {
        assert!((value(&series) - wanted).abs() < 0.5, "{series}: {values:?}");
    }
    let healthy = format!("{namespace}/good ");
    assert!(!values.keys().any(|series| series.starts_with("What is wrong") && series.contains(&healthy)));
    assert!(value(&format!("Life left: {namespace}/good")) > 100_000.0);
    assert!(value(&format!("Failures in a row: {namespace}/refused")) >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_shows_data_of_a_real_operator() {
    let world = World::new("team").await;
    let operator = world.operator(OPERATOR, &[]).await;
    let prometheus = Prometheus::watching(&operator, "system", "groups: []").await;
    play(&world).await;
    // All that has been played is seen.
    let failing = r#"squadcast_credential_condition{type="Synced",reason="ServiceUnavailable"}"#;
    let refused = r#"squadcast_credential_condition{type="Stalled",reason="RefreshTokenRejected"}"#;
    let seen = async || {
        [failing, refused].iter().all(|query| prometheus.query(query).is_ok_and(|series| !series.is_empty()))
    };
    eventually("the last of it to be scraped", DEADLINE, seen).await;
    let dashboard: Value =
        serde_json::from_str(&file("charts/squadcast-operator/files/dashboard.json")).unwrap();
    let (mut page, mut titles) = (HEAD.to_owned(), Vec::new());
    let mut values = BTreeMap::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        for target in panel["targets"].as_array().unwrap() {
            let shown = eventually(title, DEADLINE, async || shown(&prometheus, target)).await;
            let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap();
            for (series, value) in shown {
                let _ = writeln!(page, "| {title} | {series} | {} |", value_in(unit, value));
                values.insert(format!("{title}: {series}"), value);
            }
        }
        titles.push(title);
    }
    tells_what_was_played(&values, &world.namespace);
    write("docs/dashboard.md", &page);
    let told = file("docs/dashboard.md");
    let mut told: Vec<_> =
        told.lines().filter_map(|row| row.strip_prefix("| ")?.split(" | ").next()).collect();
    told.dedup();
    assert_eq!(told[1..], titles, "docs/dashboard.md has other panels: run make pages");
}
