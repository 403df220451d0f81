//! The process: its command line, its endpoints, metrics and logs, what it waits for, how it stops, and `check`.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::OPERATOR;
use crate::administrator::grant;
use crate::command::{Ended, run, run_with};
use crate::support::controlplane::definition_file;
use crate::support::eventually::unless;
use crate::support::operator::Launch;
use crate::support::process::free_port;
use crate::support::squadcast::{CANARY, Gate, Reply, Script, Squadcast, Tls};
use crate::support::world::{World, install_crd};
use crate::support::{Component, ControlPlane, DEADLINE, Operator, eventually};

/// What a user information of a URL in these tests holds; nothing may repeat it.
const PASSWORD: &str = "hunter2";

/// It ended with this code, said one line to people, and nothing to programs.
fn says_one_line(what: &str, ended: &Ended, code: i32, parts: &[&str]) {
    assert_eq!(ended.code, code, "{what}: {ended:?}");
    assert!(ended.out.is_empty(), "{what}: {ended:?}");
    let line = ended.err.strip_suffix('\n').unwrap_or_else(|| panic!("{what}: {ended:?}"));
    assert!(line.starts_with("squadcast-operator: ") && !line.contains(['\n', '\r']), "{what}: {ended:?}");
    for part in parts {
        assert!(line.contains(part), "{what}: no {part:?} in {line:?}");
    }
    for word in ["panicked", "backtrace", "RUST_", "Error {", "Err(", PASSWORD] {
        assert!(!line.contains(word), "{what}: {word:?} in {line:?}");
    }
}

/// A command line, by its words, that makes no sense.
async fn refuses(args: &[&str], parts: &[&str]) {
    says_one_line(&format!("{args:?}"), &run(args).await, 2, parts);
}

async fn refuses_run(flag: &str, parts: &[&str]) {
    refuses(&["run", flag], parts).await;
}

#[tokio::test]
async fn a_command_line_without_sense_ends_with_2_and_one_line() {
    refuses(&[], &["run, crd or check"]).await;
    refuses(&["walk"], &["run, crd or check"]).await;
    refuses(&["run", "--colour"], &["--colour"]).await;
    refuses(&["crd", "--colour"], &["--colour"]).await;
    refuses(&["run", "now"], &["unexpected argument"]).await;
    refuses(&["run", "--listen"], &["--listen"]).await;
    refuses(&["run", "--listen=:1", "--listen=:2"], &["--listen", "more than once"]).await;
    refuses_run("--listen=8080", &["--listen", "8080", "IP:PORT"]).await;
    refuses_run("--listen=localhost:8080", &["--listen", "IP:PORT"]).await;
    refuses_run("--listen=:70000", &["--listen", "70000"]).await;
    refuses_run("--namespaces=Team_A", &["--namespaces", "Team_A"]).await;
    refuses_run("--namespaces=a,b c", &["--namespaces", "b c"]).await;
    refuses_run("--exchange-timeout=15", &["--exchange-timeout", "\"15\"", "1s to 10m"]).await;
    refuses_run("--exchange-timeout=601s", &["--exchange-timeout", "\"601s\"", "1s to 10m"]).await;
    refuses_run("--exchange-timeout=0s", &["--exchange-timeout", "0s"]).await;
    refuses_run("--exchange-timeout=soon", &["--exchange-timeout", "soon"]).await;
    for flag in ["--concurrency", "--exchange-rate", "--exchange-concurrency"] {
        for value in ["0", "-1", "many", "70000", ""] {
            let (quoted, bounds) = (format!("\"{value}\""), "whole number from 1 to 65535");
            refuses_run(&format!("{flag}={value}"), &[&format!("{flag}: "), &quoted, bounds]).await;
        }
    }
    refuses_run("--namespaces=,", &["--namespaces: ", "team-a,team-b"]).await;
    refuses_run("--leader-election=true", &["--leader-election: ", "takes no value"]).await;
    refuses_run("--leader-election-name=My Lease", &["--leader-election-name: ", "\"My Lease\""]).await;
    refuses_run("--leader-election-name=", &["--leader-election-name: ", "no name of a Lease"]).await;
    refuses_run("--leader-election-namespace=a.b", &["--leader-election-namespace: ", "\"a.b\""]).await;
    refuses_run("--namespace=a", &["--namespace: ", "did you mean --namespaces?"]).await;
    refuses(&["run", "--concurrency"], &["--concurrency: ", "value is missing"]).await;
    refuses_run("--log-format=xml", &["--log-format", "\"xml\"", "text or json"]).await;
    refuses_run("--log-filter=loud", &["--log-filter", "\"loud\"", "TARGET=LEVEL"]).await;
    refuses_run("--log-filter=info,a=loud", &["--log-filter", "\"a=loud\""]).await;
    refuses_run("--ca-file=/nonexistent/ca.pem", &["--ca-file", "/nonexistent/ca.pem"]).await;
    refuses_run("--selector=a in b", &["--selector", "a in b"]).await;
    refuses_run("--selector=a==b==c", &["--selector"]).await;
}

#[tokio::test]
async fn a_ca_file_that_holds_no_certificate_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    for content in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        std::fs::write(&file, content).unwrap();
        refuses_run(&format!("--ca-file={}", file.display()), &["--ca-file", "ca.pem"]).await;
    }
}

#[tokio::test]
async fn a_region_that_cannot_work_is_refused() {
    for (region, parts) in [
        ("us", ["no \"=\"", "NAME=AUTH_URL"]),
        ("US=https://a.b", ["\"US\"", "lower-case"]),
        ("a=", ["the auth URL of \"a\"", "it is no URL"]),
        ("a=https://a.b,", ["the API URL of \"a\"", "it is no URL"]),
        ("a=ftp://a.b", ["\"a\"", "https://"]),
        ("a=http://a.b", ["\"a\"", "--insecure-allow-http"]),
        ("a=https://a.b?q=hunter2", ["\"a\"", "query"]),
        ("a=https://a.b#hunter2", ["\"a\"", "fragment"]),
        ("a=https://alice:hunter2@a.b", ["\"a\"", "user information"]),
        ("a=https://a.b,https://alice:hunter2@a.b", ["API URL", "user information"]),
        ("https://alice:hunter2@a.b", ["the value", "NAME=AUTH_URL"]),
        ("https://alice:hunter2@a.b/?x=y", ["the value", "name"]),
    ] {
        refuses_run(&format!("--region={region}"), &[&["--region"], &parts[..]].concat()).await;
        let both = format!("b=https://b.c {region}");
        let ended = run_with(&["run"], &[("SQUADCAST_OPERATOR_REGION", &both)], "").await;
        says_one_line(&both, &ended, 2, &parts);
        if region != "us" {
            refuses(&["check", &format!("--region={region}")], &["--region"]).await;
        }
    }
    // Forgotten flags: the value of one is no place for a secret, but people make mistakes.
    refuses(&["run", "a=https://alice:hunter2@a.b"], &["unexpected argument"]).await;
    refuses(&["check", "--region=us", "hunter2"], &["unexpected argument"]).await;
    refuses(&["check", "--region=us", "--refresh-token=hunter2"], &["--refresh-token"]).await;
    refuses(&["hunter2"], &["run, crd or check"]).await;
}

#[tokio::test]
async fn a_line_break_in_an_argument_makes_no_second_line() {
    for flag in ["namespaces", "listen", "log-filter", "exchange-timeout", "region", "ca-file", "concurrency"]
    {
        refuses(&["run", &format!("--{flag}=a\n\nb\r=c")], &[&format!("--{flag}")]).await;
    }
    refuses(&["check", "--region=a\nb"], &["--region"]).await;
}

#[tokio::test]
async fn a_variable_without_sense_is_refused_like_its_flag() {
    for (name, value, parts) in [
        ("LISTEN", "8080", ["\"8080\"", "IP:PORT"]),
        ("NAMESPACES", "Team_A", ["\"Team_A\"", "namespace"]),
        ("REGION", "us", ["no \"=\"", "NAME=AUTH_URL"]),
        ("SELECTOR", "a in b", ["\"a in b\"", "team=a"]),
        ("CA_FILE", "/nonexistent", ["\"/nonexistent\"", "PEM"]),
        ("EXCHANGE_TIMEOUT", "15", ["\"15\"", "1s to 10m"]),
        ("CONCURRENCY", "0", ["\"0\"", "1 to 65535"]),
        ("EXCHANGE_RATE", "0", ["\"0\"", "1 to 65535"]),
        ("EXCHANGE_CONCURRENCY", "many", ["\"many\"", "1 to 65535"]),
        ("LEADER_ELECTION", "perhaps", ["\"perhaps\"", "true or false"]),
        ("LEADER_ELECTION_NAME", "My Lease", ["\"My Lease\"", "lower-case"]),
        ("LEADER_ELECTION_NAMESPACE", "a.b", ["\"a.b\"", "namespace"]),
        ("REQUIRE_SOURCE_LABEL", "yes", ["\"yes\"", "true or false"]),
        ("LOG_FORMAT", "xml", ["\"xml\"", "text or json"]),
        ("LOG_FILTER", "loud", ["\"loud\"", "TARGET=LEVEL"]),
        ("INSECURE_ALLOW_HTTP", "perhaps", ["\"perhaps\"", "true or false"]),
    ] {
        let variable = format!("SQUADCAST_OPERATOR_{name}");
        let ended = run_with(&["run"], &[(&variable, value)], "").await;
        let flag = format!("--{} ({variable}): ", name.to_lowercase().replace('_', "-"));
        says_one_line(name, &ended, 2, &[&[&*flag], &parts[..]].concat());
    }
}

#[tokio::test]
async fn an_empty_variable_counts_as_one_that_is_not_set() {
    let help = run(&["run", "--help"]).await.out;
    let variables: Vec<_> = help
        .split(|c: char| !c.is_ascii_uppercase() && c != '_')
        .filter(|word| word.starts_with("SQUADCAST_OPERATOR_"))
        .collect();
    assert_eq!(variables.len(), 16, "{variables:?}");
    let empty: Vec<_> = variables.iter().map(|variable| (*variable, "")).collect();
    // Read and found well, as far as there is no cluster.
    let ended = run_with(&["run", "--listen=127.0.0.1:0"], &empty, "").await;
    says_one_line("all empty", &ended, 1, &["KUBECONFIG"]);
    let empty = [&empty[..], &[("SQUADCAST_REFRESH_TOKEN", "")]].concat();
    let check = run_with(&["check", "--region=us"], &empty, "").await;
    says_one_line("no token", &check, 2, &["--refresh-token-file: ", "SQUADCAST_REFRESH_TOKEN"]);
}

#[tokio::test]
async fn help_shows_no_value_of_the_environment() {
    let region = ("SQUADCAST_OPERATOR_REGION", "a=https://alice:hunter2@a.b");
    let help = run_with(&["run", "--help"], &[region], "").await;
    assert_eq!(help.code, 0, "{help:?}");
    assert!(help.out.contains("SQUADCAST_OPERATOR_REGION") && !help.out.contains(PASSWORD), "{}", help.out);
}

#[tokio::test]
async fn a_process_that_cannot_work_where_it_is_ends_with_1_and_one_line() {
    let listen = "--listen=127.0.0.1:0";
    says_one_line("no cluster", &run(&["run", listen]).await, 1, &["KUBECONFIG", "service account"]);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kubeconfig");
    let broken = format!("apiVersion: v1\nusers:\n- name: a\n  user: {{token: {PASSWORD}\n");
    for content in ["", "no YAML: [", &broken, "apiVersion: v1\nkind: Config\ncurrent-context: none\n"] {
        std::fs::write(&file, content).unwrap();
        let ended = run_with(&["run", listen], &[("KUBECONFIG", file.to_str().unwrap())], "").await;
        says_one_line(content, &ended, 1, &["KUBECONFIG"]);
    }

    let missing = run_with(&["run", listen], &[("KUBECONFIG", "/nonexistent")], "").await;
    says_one_line("no file", &missing, 1, &["KUBECONFIG: cannot read \"/nonexistent\" (No such file"]);

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = run(&["run", &format!("--listen={address}")]).await;
    says_one_line("a port that is taken", &ended, 1, &[&address, "--listen"]);

    let proxy = format!("socks5://alice:{PASSWORD}@proxy:1080");
    let ended = run_with(&["run", listen], &[("HTTPS_PROXY", &proxy)], "").await;
    says_one_line("a proxy of another kind", &ended, 1, &["HTTPS_PROXY"]);
}

#[tokio::test]
async fn version_and_help_end_with_0() {
    let version = format!("squadcast-operator {}\n", env!("CARGO_PKG_VERSION"));
    let ended = run(&["--version"]).await;
    assert!(ended.code == 0 && ended.out == version && ended.err.is_empty(), "{ended:?}");
    for (args, words) in [
        (vec!["--help"], vec!["run", "crd", "check"]),
        (
            vec!["run", "--help"],
            vec![
                "--namespaces",
                "--region",
                "--insecure-allow-http",
                "--ca-file",
                "--listen",
                "--require-source-label",
                "--leader-election",
                "--leader-election-namespace",
                "--leader-election-name",
                "--selector",
                "--concurrency",
                "--exchange-rate",
                "--exchange-concurrency",
                "--exchange-timeout",
                "--log-format",
                "--log-filter",
                "SQUADCAST_OPERATOR_REQUIRE_SOURCE_LABEL",
            ],
        ),
        (
            vec!["check", "--help"],
            vec!["--region", "--refresh-token-file", "SQUADCAST_REFRESH_TOKEN", "--probe"],
        ),
    ] {
        let ended = run(&args).await;
        assert!(ended.code == 0 && ended.err.is_empty(), "{ended:?}");
        for word in words {
            assert!(ended.out.contains(word), "{args:?}: no {word} in {}", ended.out);
        }
    }
}

#[tokio::test]
async fn settings_come_from_the_environment() {
    let world = World::new("environment").await;
    world.refresh_token("source", "rt-environment").await;
    let ca = world.squadcast.ca_file().display().to_string();
    let regions = format!("other=https://elsewhere.example\n test={}", world.squadcast.url());
    let operator = Launch::new(OPERATOR)
        .kubeconfig(&world.plane.kubeconfig_for("environment", &["system:masters"]))
        .env("SQUADCAST_OPERATOR_NAMESPACES", format!("unused,{}", world.namespace))
        .env("SQUADCAST_OPERATOR_REGION", regions)
        .env("SQUADCAST_OPERATOR_CA_FILE", ca)
        .env("SQUADCAST_OPERATOR_LOG_FORMAT", "text")
        .env("SQUADCAST_OPERATOR_LOG_FILTER", "warn,squadcast_operator=info")
        .env("SQUADCAST_OPERATOR_INSECURE_ALLOW_HTTP", "false")
        .env("SQUADCAST_OPERATOR_LEADER_ELECTION", "false")
        .env("SQUADCAST_OPERATOR_SELECTOR", "kept=yes")
        .start();
    operator.wait_ready().await;
    world.credential("x", "source", "target").await;
    world.patch("x", serde_json::json!({"metadata": {"labels": {"kept": "yes"}}})).await;
    world.wait_ready("x").await;
    assert!(!operator.log().contains('{'), "{}", operator.log());
}

#[tokio::test]
async fn flags_win_over_the_environment() {
    let world = World::new("flags").await;
    world.refresh_token("source", "rt-flags").await;
    let operator = world
        .launch(OPERATOR)
        .args(["--log-format=json", "--insecure-allow-http", "--selector="])
        .env("SQUADCAST_OPERATOR_NAMESPACES", "elsewhere")
        .env("SQUADCAST_OPERATOR_REGION", "no region at all")
        .env("SQUADCAST_OPERATOR_CA_FILE", "/nonexistent")
        // An address of documentation, which no machine has.
        .env("SQUADCAST_OPERATOR_LISTEN", "192.0.2.1:8080")
        .env("SQUADCAST_OPERATOR_LOG_FORMAT", "text")
        .env("SQUADCAST_OPERATOR_INSECURE_ALLOW_HTTP", "no")
        .env("SQUADCAST_OPERATOR_SELECTOR", "kept=yes")
        .start();
    operator.wait_ready().await;
    world.credential("x", "source", "target").await;
    world.wait_ready("x").await;
    assert!(operator.log_lines().iter().all(|line| line.starts_with('{')), "{}", operator.log());
}

/// Waits until `/readyz` is 503 and says this; `/livez` is 200 meanwhile.
async fn waits_for(operator: &Operator, parts: &[&str]) {
    let told = eventually(&format!("/readyz to say {parts:?}"), DEADLINE, async || {
        let (status, body) = operator.get("/readyz").map_err(|error| error.to_string())?;
        unless(status == 503 && parts.iter().all(|part| body.contains(part)), (status, body))
    })
    .await;
    assert_eq!(operator.get("/livez").unwrap().0, 200, "while {told:?}");
    for part in parts {
        operator.wait_for_log(part).await;
    }
    assert_eq!(operator.exit_code(), None);
}

#[tokio::test]
async fn waits_for_the_api_server_then_for_the_definition_and_then_works() {
    let plane = Arc::new(ControlPlane::start());
    let world = World::bare(&plane, "waits").await;
    world.refresh_token("source", "rt-waits").await;
    plane.kill(Component::ApiServer);
    let operator = world.launch(OPERATOR).start();
    waits_for(&operator, &["the API server cannot be reached"]).await;

    plane.restart(Component::ApiServer);
    let definition = "squadcastcredentials.credentials.squadcast.com is not installed";
    waits_for(&operator, &["CustomResourceDefinition", definition]).await;

    install_crd(&world.client, &std::fs::read_to_string(definition_file()).unwrap()).await;
    operator.wait_ready().await;
    world.credential("x", "source", "target").await;
    world.wait_ready("x").await;
    let log = operator.log();
    // Said once each, not at every try.
    assert_eq!(log.matches(definition).count(), 1, "{log}");

    // A process that has nothing to reach stops as readily.
    plane.kill(Component::ApiServer);
    let waiting = world.launch(OPERATOR).start();
    waits_for(&waiting, &["the API server cannot be reached"]).await;
    waiting.sigterm();
    assert_eq!(waiting.wait_exit(DEADLINE).await, 0);
}

#[tokio::test]
async fn is_ready_only_when_the_secrets_of_every_namespace_are_listed() {
    let (here, there) = (World::new("here").await, World::new("there").await);
    let user = format!("limited-{}", here.namespace);
    let all = "get, list, watch, create, patch, delete";
    grant(&here, &user, all);
    grant(&there, &user, "get");
    let namespaces = format!("--namespaces={}", there.namespace);
    let operator = here.launch_as(OPERATOR, &user, &[]).arg(namespaces).start();
    eventually("the Secrets of one namespace to be listed", DEADLINE, async || {
        operator
            .log_lines()
            .into_iter()
            .find(|line| ["Secrets in", &here.namespace, "listed"].iter().all(|part| line.contains(part)))
    })
    .await;
    waits_for(&operator, &["may not list and watch Secrets", &there.namespace]).await;
    assert!(!operator.log().contains("was interrupted"), "{}", operator.log());
    grant(&there, &user, all);
    operator.wait_ready().await;
}

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

#[tokio::test]
async fn sigterm_ends_an_idle_process_with_0() {
    let world = World::new("idle").await;
    for signal in ["TERM", "INT"] {
        let operator = world.operator(OPERATOR, &[]).await;
        operator.signal(signal);
        assert_eq!(operator.wait_exit(DEADLINE).await, 0, "SIG{signal}");
    }
}

#[tokio::test]
async fn sigterm_lets_an_exchange_in_flight_finish_and_begins_no_other() {
    let world = World::new("term").await;
    let gate = Gate::new();
    world.squadcast.script("rt-term", Reply::token().hold(&gate));
    world.put_secret("source", &[("refresh_token", "rt-term")]).await;
    world.refresh_token("late", "rt-late").await;
    let operator = world.operator(OPERATOR, &[]).await;
    world.credential("x", "source", "target").await;
    world.squadcast.wait_for_count("rt-term", 1, DEADLINE).await;

    operator.sigterm();
    operator.wait_for_log("SIGTERM").await;
    world.credential("late", "late", "late-token").await;
    assert_eq!(operator.exit_code(), None);
    assert_eq!(operator.get("/livez").unwrap().0, 200);
    gate.release();
    assert_eq!(operator.wait_exit(DEADLINE).await, 0);

    let minted = world.squadcast.minted("rt-term");
    assert_eq!(minted.len(), 1);
    assert_eq!(world.secret_data("target").await["access_token"], minted[0].access_token);
    world.wait_ready("x").await;
    assert_eq!(world.event_reasons("x").await, ["TokenIssued"]);
    assert_eq!(world.squadcast.count("rt-late"), 0);
}

/// `check` of the region that a stand-in is.
#[tokio::test]
async fn sigterm_waits_for_no_exchange_that_has_not_begun() {
    let world = World::new("sigterm-backlog").await;
    let operator = world.operator(OPERATOR, &["--exchange-rate=1", "--exchange-concurrency=1"]).await;
    for n in 0..40 {
        let (source, target) = (format!("source-{n}"), format!("target-{n}"));
        world.refresh_token(&source, &format!("rt-{n}")).await;
        world.credential(&format!("x-{n}"), &source, &target).await;
    }
    let begun = || (0..40).map(|n| world.squadcast.count(&format!("rt-{n}"))).sum::<usize>();
    eventually("some exchanges", DEADLINE, async || begun() >= 2).await;
    operator.sigterm();
    operator.wait_for_log("SIGTERM").await;
    let before = begun();
    assert_eq!(operator.wait_exit(DEADLINE).await, 0);
    assert!(begun() <= before + 1, "{before}, then {}", begun());
    assert!(!operator.log().contains("are dropped"), "{}", operator.log());
}

async fn check_of(standin: &Squadcast, more: &[&str], env: &[(&str, &str)], input: &str) -> Ended {
    let region = format!("--region=test={}", standin.url());
    let ca = format!("--ca-file={}", standin.ca_file().display());
    let ended = run_with(&[&["check", &region, &ca], more].concat(), env, input).await;
    assert!(!ended.all().contains("rt-") && !ended.all().contains(CANARY), "{ended:?}");
    ended
}

fn has_reason(ended: &Ended, code: i32, reason: &str) {
    assert_eq!(ended.code, code, "{ended:?}");
    let found = ended.out.lines().any(|line| line.split_whitespace().eq(["reason", reason]));
    assert!(found, "no reason {reason}: {ended:?}");
}

const IN_ENVIRONMENT: [(&str, &str); 1] = [("SQUADCAST_REFRESH_TOKEN", "rt-check")];

#[tokio::test]
async fn check_takes_the_refresh_token_from_a_file_standard_input_or_the_environment() {
    let standin = Squadcast::start();
    standin.accept("rt-check");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let from_file = format!("--refresh-token-file={}", file.display());
    std::fs::write(&file, " rt-check\r\n").unwrap();

    for (more, env, input) in [
        (vec![], &IN_ENVIRONMENT[..], ""),
        (vec![&*from_file], &[("SQUADCAST_REFRESH_TOKEN", "rt-other")][..], ""),
        (vec!["--refresh-token-file=-"], &[][..], "\trt-check\n"),
        (vec!["--refresh-token-file", "-"], &[("SQUADCAST_REFRESH_TOKEN", "rt-other")][..], "rt-check"),
    ] {
        let ended = check_of(&standin, &more, env, input).await;
        has_reason(&ended, 0, "TokenValid");
        assert!(ended.err.is_empty() && ended.out.contains("expires"), "{ended:?}");
    }
    assert_eq!(standin.count("rt-check"), 4);
    assert_eq!(standin.all_requests().len(), 4);

    let nowhere = check_of(&standin, &[], &[], "").await;
    says_one_line("no token", &nowhere, 2, &["--refresh-token-file", "SQUADCAST_REFRESH_TOKEN"]);
    let missing = check_of(&standin, &["--refresh-token-file=/nonexistent"], &IN_ENVIRONMENT, "").await;
    says_one_line("no file", &missing, 2, &["--refresh-token-file", "/nonexistent"]);
    for invalid in ["", " \n", "rt-a\nb", "rt-\u{e4}", &"x".repeat(4097)] {
        let ended = check_of(&standin, &["--refresh-token-file=-"], &[], invalid).await;
        has_reason(&ended, 1, "RefreshTokenInvalid");
    }
    assert_eq!(standin.all_requests().len(), 4);
}

#[tokio::test]
async fn check_names_the_reason_that_a_resource_would_have() {
    let standin = Squadcast::start();
    for (reply, reason) in [
        (Reply::error(400), "RequestRejected"),
        (Reply::error(401), "RefreshTokenRejected"),
        (Reply::error(402), "PaymentRequired"),
        (Reply::error(403), "RefreshTokenRejected"),
        (Reply::error(404), "RequestRejected"),
        (Reply::error(409), "ServiceUnavailable"),
        (Reply::error(422), "RequestRejected"),
        (Reply::error(429), "RateLimited"),
        (Reply::error(500), "ServiceUnavailable"),
        (Reply::html(503), "ServiceUnavailable"),
        (Reply::html(200), "InvalidResponse"),
        (Reply::html(401), "InvalidResponse"),
        (Reply::redirect(302, "https://login.example/"), "InvalidResponse"),
        (Reply::token().without("expires_at"), "InvalidResponse"),
        (Reply::example(), "InvalidResponse"),
    ] {
        standin.script("rt-check", reply);
        let ended = check_of(&standin, &[], &IN_ENVIRONMENT, "").await;
        has_reason(&ended, 1, reason);
        let said = ended.out.lines().find_map(|line| line.strip_prefix("message ")).unwrap();
        assert!(said.len() > 30, "{ended:?}");
    }
    standin.script("rt-check", Reply::silence());
    let ended = check_of(&standin, &["--exchange-timeout=1s"], &IN_ENVIRONMENT, "").await;
    has_reason(&ended, 1, "Timeout");

    let untrusted = format!("--region=test={}", standin.url());
    has_reason(&run_with(&["check", &untrusted], &IN_ENVIRONMENT, "").await, 1, "ConnectionFailed");
    let nobody = format!("--region=test=https://127.0.0.1:{}", free_port());
    has_reason(&run_with(&["check", &nobody], &IN_ENVIRONMENT, "").await, 1, "ConnectionFailed");
}

#[tokio::test]
async fn check_knows_the_regions_and_what_they_may_be() {
    let plain = Squadcast::start_with(Tls::Off);
    plain.accept("rt-check");
    let region = format!("--region=test={}", plain.url());
    let refused = run_with(&["check", &region], &IN_ENVIRONMENT, "").await;
    says_one_line("http", &refused, 2, &["--region", "--insecure-allow-http"]);
    assert_eq!(plain.all_requests().len(), 0);
    let ended = run_with(&["check", &region, "--insecure-allow-http"], &IN_ENVIRONMENT, "").await;
    has_reason(&ended, 0, "TokenValid");

    let unknown = run_with(&["check", "--region=in"], &IN_ENVIRONMENT, "").await;
    says_one_line("unknown", &unknown, 2, &["\"in\"", "eu", "us", "NAME=AUTH_URL"]);
    let none = run_with(&["check"], &IN_ENVIRONMENT, "").await;
    says_one_line("none", &none, 2, &["--region"]);
    let ca = run_with(&["check", "--region=us", "--ca-file=/nonexistent"], &IN_ENVIRONMENT, "").await;
    says_one_line("no CA file", &ca, 2, &["--ca-file", "/nonexistent"]);
    assert!(!Path::new("/nonexistent").exists());
}

#[tokio::test]
async fn a_probe_makes_three_exchanges_and_tells_what_it_found() {
    let standin = Squadcast::start();
    let first = Reply::token().refresh_token("rt-second");
    standin.script("rt-check", first.clone());
    standin.script("rt-second", Script::of([Reply::token().refresh_token("rt-second").repeat()]));
    let ended = check_of(&standin, &["--probe"], &IN_ENVIRONMENT, "").await;
    has_reason(&ended, 0, "TokenValid");
    for finding in
        ["access token repeated: yes", "refresh token changed: yes", "restarted by each exchange: no"]
    {
        assert!(ended.out.contains(finding), "{ended:?}");
    }
    let requests = standin.all_requests();
    let sent: Vec<_> = requests.iter().map(|request| &*request.refresh_token).collect();
    assert_eq!(sent, ["rt-check", "rt-second", "rt-second"]);
    for pair in requests.windows(2) {
        assert!(pair[1].at - pair[0].at >= Duration::from_millis(5900));
    }
}
