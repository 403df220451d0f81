//! `check`: what it tells besides the reason, for people and for programs.

mod reason;

use serde_json::{Value, json};

use crate::command::{Ended, run_with};
use crate::support::process::free_port;
use crate::support::squadcast::{CANARY, Reply, Squadcast, Tls};
use crate::support::{Proxy, Script};

const IN_ENVIRONMENT: [(&str, &str); 1] = [("SQUADCAST_REFRESH_TOKEN", "rt-check")];

/// `check` of this region, which trusts this stand-in.
async fn check(region: &str, standin: &Squadcast, more: &[&str]) -> Ended {
    check_with(region, standin, more, &IN_ENVIRONMENT, "").await
}

async fn check_with(
    region: &str,
    standin: &Squadcast,
    more: &[&str],
    env: &[(&str, &str)],
    input: &str,
) -> Ended {
    let (region, ca) = (format!("--region={region}"), format!("--ca-file={}", standin.ca_file().display()));
    let ended = run_with(&[&["check", &region, &ca], more].concat(), env, input).await;
    assert!(!ended.all().contains("rt-") && !ended.all().contains(CANARY), "{ended:?}");
    ended
}

/// The value of a line, which is there once.
fn fact<'a>(ended: &'a Ended, name: &str) -> &'a str {
    let values: Vec<_> =
        ended.out.lines().filter_map(|line| line.split_once(' ')).filter(|(what, _)| *what == name).collect();
    let [(_, value)] = values[..] else { panic!("no line {name}, or several: {ended:?}") };
    value.trim()
}

fn object(ended: &Ended) -> Value {
    assert!(ended.err.is_empty(), "{ended:?}");
    serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

#[tokio::test]
async fn check_tells_the_way_the_answer_the_life_and_the_clock() {
    let standin = Squadcast::start();
    standin.script("rt-check", Reply::token().life(7200).skew(600));
    let host = standin.url().trim_start_matches("https://").to_owned();
    let region = format!("test={}", standin.url());
    let ended = check(&region, &standin, &[]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    for (name, value) in [
        ("region", "test"),
        ("host", &*host),
        ("url", &format!("{}/oauth/access-token", standin.url())),
        ("proxy", "none"),
        ("tls", "verified: the server's certificate is trusted here"),
        ("status", "HTTP 200"),
        ("reason", "TokenValid"),
    ] {
        assert_eq!(fact(&ended, name), value, "{ended:?}");
    }
    assert!(
        fact(&ended, "expires").contains(" (in 1h 59m 5") || fact(&ended, "expires").contains("(in 2h)"),
        "{ended:?}"
    );
    let (issued, renews) = (fact(&ended, "issued"), fact(&ended, "renews"));
    assert!(issued < renews && renews < fact(&ended, "expires"), "{ended:?}");
    assert!(fact(&ended, "clock").ends_with(" s ahead of this machine's"), "{ended:?}");

    standin.script("rt-check", Reply::token().skew(-600));
    assert!(fact(&check(&region, &standin, &[]).await, "clock").ends_with(" s behind this machine's"));
    standin.script("rt-check", Reply::token());
    assert!(fact(&check(&region, &standin, &[]).await, "clock").starts_with("no difference"));

    standin.script("rt-check", Reply::error(429).retry_after("7"));
    let limited = check(&region, &standin, &[]).await;
    assert_eq!((fact(&limited, "status"), fact(&limited, "wait")), ("HTTP 429", "Squadcast asks for 7 s"));
    assert!(fact(&limited, "message").ends_with("Wait, then check again."), "{limited:?}");
    // A refusal tells of the clock, too, and where the refresh token came from.
    standin.script("rt-check", Reply::error(401).skew(600));
    let rejected = check(&region, &standin, &[]).await;
    assert!(fact(&rejected, "clock").ends_with(" s ahead of this machine's"), "{rejected:?}");
    assert!(fact(&rejected, "message").ends_with("read from \"SQUADCAST_REFRESH_TOKEN\"."), "{rejected:?}");
    let nobody = format!("test=https://127.0.0.1:{}", free_port());
    let refused = check(&nobody, &standin, &[]).await;
    assert_eq!((fact(&refused, "tls"), fact(&refused, "status")), ("not reached: no answer came", "none"));
    let said = fact(&refused, "message");
    assert!(
        said.contains("check what lies between this machine and region \"test\": DNS, proxies"),
        "{said}"
    );
    assert!(!refused.out.contains("\nclock"), "{refused:?}");
    let unsent = check_with(&region, &standin, &[], &[("SQUADCAST_REFRESH_TOKEN", " ")], "").await;
    assert_eq!(fact(&unsent, "tls"), "not reached: no answer came");
    let plain = format!("test=http://127.0.0.1:{}", free_port());
    let refused = check(&plain, &standin, &["--insecure-allow-http"]).await;
    assert_eq!(fact(&refused, "tls"), "off: a refresh token travels unencrypted");
}

#[tokio::test]
async fn check_names_the_proxy_and_what_goes_unencrypted() {
    let standin = Squadcast::start_with(Tls::Off);
    standin.accept("rt-check");
    let plain = check(&format!("test={}", standin.url()), &standin, &["--insecure-allow-http"]).await;
    assert_eq!(fact(&plain, "tls"), "off: a refresh token travels unencrypted");

    let proxy = Proxy::start();
    let standin = Squadcast::start();
    standin.accept("rt-check");
    let port = standin.url().rsplit(':').next().expect("a port").to_owned();
    let through = proxy.url().replace("://", "://alice:hunter2@");
    let env = [IN_ENVIRONMENT[0], ("HTTPS_PROXY", &*through)];
    let ended = check_with(&format!("test=https://localhost:{port}"), &standin, &[], &env, "").await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(fact(&ended, "proxy"), proxy.url().trim_end_matches('/'), "{ended:?}");
    assert!(!ended.all().contains("hunter2"), "{ended:?}");
}

#[tokio::test]
async fn check_knows_the_regions_of_the_operator_beside_it() {
    let standin = Squadcast::start();
    standin.accept("rt-check");
    let beside = format!("one=https://127.0.0.1:1  test={}", standin.url());
    let env = [IN_ENVIRONMENT[0], ("SQUADCAST_OPERATOR_REGION", &*beside)];
    let ended = check_with("test", &standin, &[], &env, "").await;
    assert_eq!((ended.code, fact(&ended, "region")), (0, "test"), "{ended:?}");
    // The flag wins.
    let elsewhere = format!("test=https://127.0.0.1:{}", free_port());
    assert_eq!(check_with(&elsewhere, &standin, &[], &env, "").await.code, 1);
    let wrong = [IN_ENVIRONMENT[0], ("SQUADCAST_OPERATOR_REGION", "one=nothing")];
    let ended = check_with("us", &standin, &[], &wrong, "").await;
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.err.starts_with("squadcast-operator: SQUADCAST_OPERATOR_REGION: "), "{ended:?}");
}

#[tokio::test]
async fn check_tells_programs_the_same_as_one_object() {
    let standin = Squadcast::start();
    let region = format!("test={}", standin.url());
    standin.script("rt-check", Reply::token().life(7200).refresh_token("rt-next"));
    let ended = check(&region, &standin, &["--output=json"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let told = object(&ended);
    for (path, value) in [
        ("/region", json!("test")),
        ("/host", json!(standin.url().trim_start_matches("https://"))),
        ("/url", json!(format!("{}/oauth/access-token", standin.url()))),
        ("/proxy", Value::Null),
        ("/tls", json!("verified")),
        ("/status", json!(200)),
        ("/reason", json!("TokenValid")),
        ("/retryAfterSeconds", Value::Null),
        ("/clockSkewSeconds", json!(0)),
        ("/token/refreshTokenRotated", json!(true)),
        ("/probe", Value::Null),
    ] {
        assert_eq!(told.pointer(path), Some(&value), "{path}: {told}");
    }
    let left = told["token"]["secondsLeft"].as_i64().unwrap();
    assert!((7100..=7200).contains(&left), "{told}");
    assert!(told["token"]["renewAt"].as_str() < told["token"]["expiresAt"].as_str(), "{told}");

    standin.script("rt-check", Reply::error(401));
    let ended = check(&region, &standin, &["--output=json"]).await;
    let told = object(&ended);
    assert_eq!(
        (ended.code, &told["status"], &told["reason"]),
        (1, &json!(401), &json!("RefreshTokenRejected"))
    );
    assert_eq!(told["token"], Value::Null);
    let unsent = json!({ "tls": "notReached", "clockSkewSeconds": null });
    let none =
        check_with(&region, &standin, &["--output=json"], &[("SQUADCAST_REFRESH_TOKEN", " ")], "").await;
    assert_eq!((none.code, &object(&none)["reason"]), (1, &json!("RefreshTokenInvalid")));
    for field in ["tls", "clockSkewSeconds"] {
        assert_eq!(object(&none)[field], unsent[field], "{field}");
    }

    standin.script("rt-check", Script::of([Reply::token()]));
    let told = object(&check(&region, &standin, &["--output=json", "--probe"]).await);
    let findings =
        json!({ "accessTokenRepeated": false, "lifeRestarted": true, "refreshTokenChanged": false });
    assert_eq!(told["probe"], findings, "{told}");
}
