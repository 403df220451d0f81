//! Arguments, variables and surroundings with which the program cannot work end it with one line that says why.

use std::net::TcpListener;

use crate::command::{PASSWORD, run, run_with, says_one_line};

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
