//! Flags and variables of one's own beside those that the chart sets.

use serde_json::json;

use crate::values::{container, refuses};

#[test]
fn what_the_chart_sets_itself_cannot_be_set_beside_it() {
    // Pods that nobody finds ready, a Lease without a right to it, and settings that are overruled without a word.
    for (flag, variable, parts) in [
        ("--listen=[::]:9090", "LISTEN", ["8080", "leave it out"]),
        ("--leader-election-namespace=x", "LEADER_ELECTION_NAMESPACE", ["the Lease", "leave it out"]),
        ("--leader-election-name=x", "LEADER_ELECTION_NAME", ["set by the chart", "leave it out"]),
        ("--namespaces=x", "NAMESPACES", ["value namespaces", "set that"]),
        ("--selector=x", "SELECTOR", ["value selector", "set that"]),
        ("--require-source-label", "REQUIRE_SOURCE_LABEL", ["value requireSourceLabel", "set that"]),
        ("--log-format=text", "LOG_FORMAT", ["value logFormat", "set that"]),
        ("--log-filter=debug", "LOG_FILTER", ["value logFilter", "set that"]),
    ] {
        let named = format!("extraArgs: {} ", flag.split('=').next().unwrap());
        refuses(&json!({ "extraArgs": [flag] }), &[&[named.as_str()], &parts[..]].concat());
        let variable = format!("SQUADCAST_OPERATOR_{variable}");
        let named = format!("extraEnv: {variable} ");
        let values = json!({ "extraEnv": [{ "name": variable, "value": "x" }] });
        refuses(&values, &[&[named.as_str()], &parts[..]].concat());
    }
    // What the chart has no value for; and what may come from a Secret, where the chart sets it not.
    for name in ["CONCURRENCY", "EXCHANGE_TIMEOUT", "REGION", "CA_FILE"] {
        let variable = format!("SQUADCAST_OPERATOR_{name}");
        let container = container(&json!({ "extraEnv": [{ "name": variable, "value": "x" }] }));
        assert_eq!(container["env"][0]["name"], variable);
    }
}

#[test]
fn what_would_end_each_pod_at_its_start_is_refused_before() {
    refuses(&json!({ "logFilter": "debg" }), &["logFilter: \"debg\" is no level", "TARGET=LEVEL"]);
    refuses(&json!({ "logFilter": "info, squadcast" }), &["logFilter: \" squadcast\" is no level"]);
    refuses(&json!({ "extraArgs": ["--concurrency 4"] }), &["is one word", "write --concurrency=4"]);
    for filter in
        ["", "DEBUG", "info,squadcast_operator::ops=debug", "warn, squadcast_operator[one]=trace", "3"]
    {
        let container = container(&json!({ "logFilter": filter }));
        assert_eq!(container["args"][4], format!("--log-filter={filter}"));
    }
    let apart = container(&json!({ "extraArgs": ["--concurrency", "4"] }));
    assert_eq!(apart["args"].as_array().unwrap().len(), 7);
}
