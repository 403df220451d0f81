//! Where settings come from: flags, then variables, then defaults, which `--help` tells.

use crate::{
    OPERATOR,
    command::{PASSWORD, run, run_with, says_one_line},
    support::{operator::Launch, world::World},
};

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
