//! `check`: where the refresh token comes from, and the reason that a resource would have.

use std::{path::Path, time::Duration};

use super::{IN_ENVIRONMENT, check_with};
use crate::{
    command::{Ended, run_with, says_one_line},
    support::{
        process::free_port,
        squadcast::{Reply, Script, Squadcast, Tls},
    },
};

/// `check` of the region that a stand-in is.
async fn check_of(standin: &Squadcast, more: &[&str], env: &[(&str, &str)], input: &str) -> Ended {
    check_with(&format!("test={}", standin.url()), standin, more, env, input).await
}

fn has_reason(ended: &Ended, code: i32, reason: &str) {
    assert_eq!(ended.code, code, "{ended:?}");
    let found = ended.out.lines().any(|line| line.split_whitespace().eq(["reason", reason]));
    assert!(found, "no reason {reason}: {ended:?}");
}

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
