//! Each row of the table of failures: reason, message, who must act, when the next attempt comes, and what it
//! means for `Ready`. The next attempt is read from the status, where it is an exact number of seconds after the
//! failure; nothing here waits for a long pause to end.

use std::io::{Read, Write};

use futures::future::join_all;
use serde_json::json;

use crate::{
    steps::{
        Stage, assert_backed_off, conditions, failures, instant, message, source, spec, target, token,
        wait_of,
    },
    support::{
        Cut, DEADLINE, Gate, Reply, Script, Squadcast, Tls, eventually,
        eventually::unless,
        squadcast::http_date,
        world::{REGION, World},
    },
};

/// Statuses with which Squadcast says no, and what a resource then reports.
const REJECTIONS: [(u16, &str); 6] = [
    (400, "RequestRejected"),
    (404, "RequestRejected"),
    (422, "RequestRejected"),
    (401, "RefreshTokenRejected"),
    (403, "RefreshTokenRejected"),
    (402, "PaymentRequired"),
];

fn all_false(reason: &str) -> String {
    format!("Ready=False {reason}, Synced=False {reason}")
}

fn stalled(reason: &str) -> String {
    format!("Ready=False {reason}, Synced=False {reason}, Stalled=True {reason}")
}

fn unsynced(reason: &str) -> String {
    format!("Ready=True TokenValid, Synced=False {reason}")
}

/// Resources of these names whose exchanges are answered so: each reports `reason` as a transient failure, has
/// no token, and has spent one exchange for each failure that it counts. Answers with the messages.
async fn assert_transient(stage: &Stage, reason: &str, cases: Vec<(&str, Reply)>) -> Vec<(String, String)> {
    join_all(cases.into_iter().map(async |(name, reply)| {
        stage.resource(name, reply).await;
        let resource = stage.wait_conditions(name, &all_false(reason)).await;
        assert_backed_off(&resource, 300);
        assert_eq!(message(&resource, "Ready"), message(&resource, "Synced"), "{name}");
        assert!(stage.exchanges(name) >= usize::try_from(failures(&resource)).unwrap(), "{name}");
        assert_eq!(stage.secret(&target(name)).await, None, "{name}");
        (name.to_owned(), message(&resource, "Synced"))
    }))
    .await
}

#[tokio::test]
async fn a_rejection_stalls_at_once_where_no_token_is_held() {
    let stage = Stage::new("rejected-new").await;
    join_all(REJECTIONS.map(async |(code, reason)| {
        let name = format!("s{code}");
        stage.resource(&name, Reply::error(code)).await;
        let resource = stage.wait_conditions(&name, &stalled(reason)).await;
        assert_eq!((failures(&resource), wait_of(&resource)), (1, 3600), "{name}");
        for kind in ["Ready", "Synced", "Stalled"] {
            let text = message(&resource, kind);
            assert!(text.contains(&format!("HTTP {code}")) && text.contains("127.0.0.1"), "{name}: {text}");
        }
        let said = message(&resource, "Synced");
        assert!(said.contains("usually"), "{name}: {said}");
        if code == 401 {
            assert!(said.contains("unauthorized: invalid refresh token"), "{said}");
            for usual in ["revoked", "user was removed", "another region"] {
                assert!(said.contains(usual), "{said}");
            }
        }
        eventually("one event", DEADLINE, async || stage.event_reasons(&name).await == [reason]).await;
        assert_eq!(stage.exchanges(&name), 1, "{name}");
    }))
    .await;
    stage.flush().await;
    for (code, _) in REJECTIONS {
        assert_eq!(stage.exchanges(&format!("s{code}")), 1, "nothing more comes for {code}");
    }
}

#[tokio::test]
async fn an_error_is_squadcasts_whatever_else_its_json_holds() {
    let stage = Stage::new("rejected-forms").await;
    let forms = [
        ("text", json!({"meta": {"status": "401", "error_message": "words of Squadcast"}})),
        (
            "more",
            json!({"meta": {"status": 401, "error_message": "words of Squadcast", "error_details": {"a": [1]}},
                   "conflict_data": [{}]}),
        ),
        ("bare", json!({"meta": {}})),
    ];
    join_all(forms.map(async |(name, body)| {
        stage.resource(name, Reply::json(401, &body)).await;
        let resource = stage.wait_conditions(name, &stalled("RefreshTokenRejected")).await;
        let said = message(&resource, "Synced");
        assert_eq!(said.contains("words of Squadcast"), name != "bare", "{said}");
    }))
    .await;
}

#[tokio::test]
async fn a_rejection_is_confirmed_by_a_second_one_where_a_token_is_held() {
    let stage = Stage::new("rejected-held").await;
    join_all(REJECTIONS.map(async |(code, reason)| {
        let name = format!("s{code}");
        let script = Script::of([Reply::token().life(20_000), Reply::error(code)]);
        stage.resource(&name, script).await;
        let issued = stage.settled(&name).await;

        let first = stage.attempt(&name).await;
        assert_eq!(conditions(&first), unsynced(reason), "{name}");
        assert_eq!((failures(&first), wait_of(&first)), (1, 60), "{name}");
        assert_eq!(first["status"]["expiresAt"], issued["status"]["expiresAt"], "{name}");

        let second = stage.attempt(&name).await;
        let ends_ready = matches!(code, 401 | 403);
        let ready = if ends_ready { format!("Ready=False {reason}") } else { "Ready=True TokenValid".into() };
        assert_eq!(
            conditions(&second),
            format!("{ready}, Synced=False {reason}, Stalled=True {reason}"),
            "{name}"
        );
        assert_eq!(failures(&second), 2, "{name}");
        let left = instant(&second, "expiresAt").as_second() - instant(&second, "lastFailureAt").as_second();
        let wait = wait_of(&second);
        assert!((left / 10 - 1..=left / 10 + 1).contains(&wait), "{name}: {wait} of {left}");
        assert_eq!(stage.exchanges(&name), 3, "{name}");
        // The Secret stays as it was.
        let minted = &stage.squadcast.minted(&token(&name))[0].access_token;
        assert_eq!(stage.written(&name).await.0, *minted, "{name}");
    }))
    .await;
}

#[tokio::test]
async fn a_rejection_of_another_refresh_token_than_the_targets_leaves_ready_true() {
    let stage = Stage::new("rejected-other").await;
    stage.resource("one", Reply::token()).await;
    stage.settled("one").await;
    stage.put_secret(&source("one"), &[("refresh_token", "rt-unknown")]).await;
    let first = stage.wait_conditions("one", &unsynced("RefreshTokenRejected")).await;
    assert_eq!((failures(&first), wait_of(&first)), (1, 60));
    let second = stage.attempt("one").await;
    assert_eq!(
        conditions(&second),
        "Ready=True TokenValid, Synced=False RefreshTokenRejected, Stalled=True RefreshTokenRejected"
    );
    assert!(stage.written("one").await.1, "the token in the target is still good");
    assert_eq!(stage.squadcast.count("rt-unknown"), 2);
}

#[tokio::test]
async fn a_rejected_resource_recovers_with_a_new_refresh_token() {
    let mut stage = Stage::new("rejected-recovery").await;
    stage.squadcast.accept("rt-new");
    for name in ["runs", "rests"] {
        stage.resource(name, Script::of([Reply::token(), Reply::error(401)])).await;
        stage.settled(name).await;
        stage.attempt(name).await;
        let rejected = stage.attempt(name).await;
        assert_eq!(conditions(&rejected), stalled("RefreshTokenRejected"));
    }
    // A change of the Secret that leaves the value as it is changes nothing.
    stage
        .apply_secret(
            &source("runs"),
            json!({ "metadata": { "labels": { "a": "b" } },
        "stringData": { "refresh_token": token("runs"), "other": "x" } }),
        )
        .await;
    stage.flush().await;
    assert_eq!(stage.exchanges("runs"), 3);

    stage.put_secret(&source("runs"), &[("refresh_token", "rt-new")]).await;
    let resource = stage.settled("runs").await;
    assert_eq!(failures(&resource), 0);
    assert!(resource["status"]["nextAttemptAt"].is_null(), "{}", resource["status"]);
    assert_eq!(stage.written("runs").await, (stage.squadcast.minted("rt-new")[0].access_token.clone(), true));

    // Corrected while no operator ran: tried at once, an hour before the next attempt in the status.
    stage
        .restart(async |world| {
            world.squadcast.accept("rt-newer");
            world.put_secret(&source("rests"), &[("refresh_token", "rt-newer")]).await;
        })
        .await;
    stage.settled("rests").await;
    assert_eq!(stage.squadcast.count("rt-newer"), 1);
    assert!(stage.written("rests").await.1);
    assert_eq!(stage.exchanges("rests"), 3);
}

#[tokio::test]
async fn a_change_of_spec_tries_a_rejected_refresh_token_again() {
    let stage = Stage::new("rejected-spec").await;
    stage.resource("one", Script::of([Reply::error(400), Reply::token()])).await;
    stage.wait_conditions("one", &stalled("RequestRejected")).await;
    stage.apply("one", spec("one", json!({ "labels": { "team": "a" } }))).await;
    stage.settled("one").await;
    assert_eq!(stage.exchanges("one"), 2);
}

#[tokio::test]
async fn an_answer_that_is_not_squadcasts_is_no_rejection() {
    let stage = Stage::new("not-squadcasts").await;
    let page = |code| Reply::html(code);
    let mut cases = vec![
        ("p400", page(400)),
        ("p401", page(401)),
        ("p402", page(402)),
        ("p403", page(403)),
        ("p404", page(404)),
        ("p422", page(422)),
        ("p405", page(405)),
        ("p418", page(418)),
        ("p204", Reply::raw(204, "text/plain", "")),
        // JSON, but not Squadcast's; Squadcast's, but a status that it does not have.
        ("j401", Reply::json(401, &json!({ "error": "unauthorized", "status": 401 }))),
        ("m403", Reply::json(403, &json!({ "meta": "forbidden" }))),
        ("l400", Reply::json(400, &json!([{ "meta": {} }]))),
        ("e410", Reply::error(410)),
    ];
    cases.push(("h401", page(401).header("Content-Type", "")));
    for (name, said) in assert_transient(&stage, "InvalidResponse", cases).await {
        assert!(said.contains("127.0.0.1") && said.contains(&name[1..]), "{name}: {said}");
        assert!(said.contains("proxy") && said.contains("login page"), "{name}: {said}");
        if name.starts_with('p') && name != "p204" {
            assert!(said.contains("text/html"), "{name}: {said}");
        }
    }
}

#[tokio::test]
async fn a_fault_of_the_service_is_transient_with_json_and_without() {
    let stage = Stage::new("service-fault").await;
    let cases = vec![
        ("j409", Reply::error(409)),
        ("j500", Reply::error(500)),
        ("j502", Reply::error(502)),
        ("j503", Reply::error(503)),
        ("j504", Reply::error(504)),
        ("p409", Reply::html(409)),
        ("p500", Reply::html(500)),
        ("p502", Reply::html(502)),
        ("p503", Reply::html(503).retry_after("3000")),
        ("p599", Reply::html(599)),
        ("b500", Reply::error(500).cut(Cut::InBody)),
        ("l502", Reply::html(502).size(100_000)),
    ];
    for (name, said) in assert_transient(&stage, "ServiceUnavailable", cases).await {
        assert!(said.contains(&format!("HTTP {}", &name[1..])), "{name}: {said}");
        assert_eq!(said.contains("\"conflict\""), name == "j409", "{name}: {said}");
    }
}

#[tokio::test]
async fn a_pause_that_squadcast_asks_for_is_kept() {
    // A region for each: three refresh tokens that are told to wait would hold back their region.
    let world = World::new("pause").await;
    let names = ["seconds", "zero", "endless", "none", "garbage", "date", "past", "held"];
    let flags: Vec<_> = names.map(|name| format!("--region={name}={}", world.squadcast.url())).into();
    let stage = Stage::with(world, &flags).await;
    let start = jiff::Timestamp::now().as_second();
    let told = |value: &str| Script::from(Reply::error(429).retry_after(value));
    let scripts: [Script; 8] = [
        told("700"),
        told("0"),
        told("86400"),
        Reply::error(429).into(),
        told("soon"),
        told(&http_date(start + 1000)),
        told(&http_date(start - 1000)),
        Script::of([Reply::token().life(2000), Reply::error(429).retry_after("3600")]),
    ];
    let stage = &stage;
    join_all(names.into_iter().zip(scripts).map(async |(name, script)| {
        stage.source(name, script).await;
        let mut spec = spec(name, json!({}));
        spec["region"] = name.into();
        stage.apply(name, spec).await;
        if name == "held" {
            stage.settled(name).await;
            let resource = stage.attempt(name).await;
            assert_eq!(conditions(&resource), unsynced("RateLimited"));
            let left =
                instant(&resource, "expiresAt").as_second() - instant(&resource, "lastFailureAt").as_second();
            let wait = wait_of(&resource);
            assert!((left / 2 - 1..=left / 2).contains(&wait), "{wait} of {left}");
            return;
        }
        let resource = stage.wait_conditions(name, &all_false("RateLimited")).await;
        assert!(message(&resource, "Synced").contains("HTTP 429"), "{}", message(&resource, "Synced"));
        match name {
            "seconds" => assert_eq!(wait_of(&resource), 700),
            "endless" => assert_eq!(wait_of(&resource), 3600),
            "zero" | "past" => assert_eq!(wait_of(&resource), 1),
            "date" => {
                let wait = wait_of(&resource);
                assert!(100 < wait && wait <= 1000, "{wait}");
                let next = instant(&resource, "nextAttemptAt").as_second();
                assert!(next >= start + 999, "{next} is before the date that was given");
            }
            _ => assert_backed_off(&resource, 300),
        }
    }))
    .await;
    assert_eq!(stage.exchanges("seconds"), 1);
}

#[tokio::test]
async fn three_refresh_tokens_that_are_told_to_wait_hold_back_the_region() {
    let stage = Stage::new("region-pause").await;
    for name in ["one", "two", "three"] {
        stage.resource(name, Reply::error(429).retry_after("900")).await;
        stage.wait_conditions(name, &all_false("RateLimited")).await;
    }
    stage.resource("four", Reply::token()).await;
    let resource = stage.wait_conditions("four", &all_false("RateLimited")).await;
    let wait = wait_of(&resource);
    assert!(60 < wait && wait <= 900, "{wait}");
    assert!(message(&resource, "Synced").contains(REGION), "{}", message(&resource, "Synced"));
    assert_eq!(stage.exchanges("four"), 0, "nothing was sent for it");
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let stage = Stage::new("redirects").await;
    let to = format!("{}/elsewhere/oauth/access-token", stage.squadcast.url());
    let cases = vec![
        ("r301", Reply::redirect(301, &to)),
        ("r302", Reply::redirect(302, &to)),
        ("r303", Reply::redirect(303, "/elsewhere/oauth/access-token")),
        ("r307", Reply::redirect(307, &to)),
        ("r308", Reply::redirect(308, &to)),
        ("r304", Reply::raw(304, "text/plain", "")),
    ];
    for (name, said) in assert_transient(&stage, "InvalidResponse", cases).await {
        assert!(said.contains(&name[1..]) && said.contains("redirect"), "{name}: {said}");
    }
    assert!(stage.squadcast.all_requests().iter().all(|request| request.path == "/oauth/access-token"));
}

#[tokio::test]
async fn an_answer_without_a_usable_token_is_invalid() {
    let stage = Stage::new("bodies").await;
    let token = Reply::token;
    let now = jiff::Timestamp::now().as_second();
    let cases = vec![
        ("page", Reply::html(200)),
        ("empty", Reply::raw(200, "application/json", "")),
        ("broken", Reply::raw(200, "application/json", "{\"data\":{\"access_token\":\"x\"")),
        ("bytes", Reply::raw(200, "application/json", [0xff, 0xfe, 0, 1])),
        ("list", Reply::json(200, &json!([]))),
        ("bare", Reply::json(200, &json!({}))),
        ("no-data", Reply::json(200, &json!({ "data": null }))),
        ("no-token", token().without("access_token")),
        ("no-expiry", token().without("expires_at")),
        ("no-issue", token().without("issued_at")),
        ("no-refresh", token().without("refresh_token")),
        ("no-type", token().without("type")),
        ("token-number", token().field("access_token", json!(7))),
        ("expiry-text", token().field("expires_at", json!("4102444800"))),
        ("expiry-fraction", token().field("expires_at", json!(1e300))),
        ("issue-text", token().field("issued_at", json!("now"))),
        ("refresh-null", token().field("refresh_token", json!(null))),
        ("type-list", token().field("type", json!(["Bearer"]))),
        ("token-empty", token().access_token("")),
        ("token-line", token().access_token("two\r\nlines: x")),
        ("token-letter", token().access_token("töken")),
        ("expired", Reply::example()),
        ("soon", token().life(3)),
        ("far", token().times(now, now + 3660 * 86_400)),
        ("long", token().size(65_537)),
        ("chunked", token().size(200_000).chunked()),
        ("half", token().cut(Cut::InBody)),
    ];
    let wrong = cases.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    let told = assert_transient(&stage, "InvalidResponse", cases).await;
    assert_eq!(told.len(), wrong.len());
    for (name, said) in told {
        assert!(said.contains("127.0.0.1") && said.contains("HTTP 200"), "{name}: {said}");
        let part = match &*name {
            "no-token" | "token-number" => "data.access_token",
            "no-expiry" | "expiry-text" | "expiry-fraction" => "data.expires_at",
            "no-issue" | "issue-text" => "data.issued_at",
            "no-refresh" | "refresh-null" => "data.refresh_token",
            "no-type" | "type-list" => "data.type",
            "expired" | "soon" => "expire",
            "far" => "10 years",
            "long" | "chunked" => "64 KiB",
            "page" => "text/html",
            _ => "",
        };
        assert!(said.contains(part), "{name}: {said}");
    }
    // The limits themselves are allowed.
    for (name, reply) in
        [("whole", token().size(65_536)), ("ten-years", token().times(now, now + 3650 * 86_400))]
    {
        stage.resource(name, reply).await;
        stage.settled(name).await;
    }
}

/// The address of a server that speaks plain HTTP where TLS is expected.
fn plain_http() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    address
}

#[tokio::test]
async fn a_fault_of_the_connection_is_transient() {
    let world = World::new("connection").await;
    let standins = [Tls::Expired, Tls::WrongHost, Tls::UnknownCa].map(Squadcast::start_with);
    let bundle: String = standins.iter().map(Squadcast::ca_pem).collect();
    std::fs::write(world.squadcast.ca_file(), world.squadcast.ca_pem() + &bundle).unwrap();
    let names = ["expired", "host", "authority"];
    let mut flags: Vec<_> = names
        .iter()
        .zip(&standins)
        .map(|(name, standin)| format!("--region={name}={}", standin.url()))
        .collect();
    flags.push(format!("--region=plain=https://{}", plain_http()));
    flags.extend(["--region=refused=https://127.0.0.1:1".into(), "--exchange-timeout=3s".into()]);
    let stage = Stage::with(world, &flags).await;
    let cases = [
        ("expired", "ConnectionFailed", "has expired"),
        ("host", "ConnectionFailed", "for another name"),
        ("authority", "ConnectionFailed", "--ca-file"),
        ("plain", "ConnectionFailed", "TLS"),
        ("refused", "ConnectionFailed", "refused"),
    ];
    join_all(cases.map(async |(name, reason, part)| {
        stage.source(name, Reply::token()).await;
        let mut spec = spec(name, json!({}));
        spec["region"] = name.into();
        stage.apply(name, spec).await;
        let resource = stage.wait_conditions(name, &all_false(reason)).await;
        assert_backed_off(&resource, 300);
        let said = message(&resource, "Synced");
        assert!(said.contains(part) && said.contains("127.0.0.1"), "{name}: {said}");
    }))
    .await;
    for standin in &standins {
        assert!(standin.all_requests().is_empty(), "no refresh token went to one that is not trusted");
    }
    let lost =
        vec![("head", Reply::token().cut(Cut::InHead)), ("nothing", Reply::token().cut(Cut::BeforeHead))];
    assert_transient(&stage, "ConnectionFailed", lost).await;
    let slow = vec![
        ("silent", Reply::silence()),
        ("dripping", Reply::token().drip(std::time::Duration::from_millis(100))),
    ];
    for (name, said) in assert_transient(&stage, "Timeout", slow).await {
        assert!(said.contains("127.0.0.1"), "{name}: {said}");
    }
}

#[tokio::test]
async fn back_off_doubles_and_is_one_for_all_resources_of_a_refresh_token() {
    let stage = Stage::new("back-off").await;
    let names = ["a", "b", "c", "d", "e"];
    let waits = join_all(names.map(async |name| {
        stage.resource(name, Reply::error(503)).await;
        let mut resource = stage.wait_conditions(name, &all_false("ServiceUnavailable")).await;
        while failures(&resource) < 8 {
            resource = stage.attempt(name).await;
            assert_backed_off(&resource, 300);
        }
        wait_of(&resource)
    }))
    .await;
    assert!(waits.iter().any(|wait| *wait != waits[0]), "different refresh tokens spread: {waits:?}");

    // Another resource of `a`'s refresh token waits as long for as many failures.
    let mut spec = spec("a2", json!({}));
    spec["refreshTokenSecretRef"]["name"] = source("a").into();
    stage.apply("a2", spec).await;
    let mut resource = stage.wait_conditions("a2", &all_false("ServiceUnavailable")).await;
    while failures(&resource) < 8 {
        resource = stage.attempt("a2").await;
    }
    assert_eq!(wait_of(&resource), waits[0]);
    eventually("one event for one reason", DEADLINE, async || {
        let reasons = stage.event_reasons("a").await;
        unless(reasons == ["ServiceUnavailable"], reasons)
    })
    .await;
}

#[tokio::test]
async fn retries_stay_close_while_little_life_is_left() {
    let stage = Stage::new("little-life").await;
    let script = |life| Script::of([Reply::token().life(life), Reply::error(503)]);
    stage.resource("little", script(850)).await;
    stage.resource("much", script(90_000)).await;
    join_all([("little", 30), ("much", 300)].map(async |(name, cap)| {
        stage.settled(name).await;
        for count in 1..=8 {
            let resource = stage.attempt(name).await;
            assert_eq!(failures(&resource), count);
            assert_eq!(conditions(&resource), unsynced("ServiceUnavailable"));
            assert_backed_off(&resource, cap);
        }
    }))
    .await;
}

#[tokio::test]
async fn count_and_next_attempt_hold_across_a_restart() {
    let mut stage = Stage::new("back-off-restart").await;
    stage.resource("one", Script::of([Reply::token(), Reply::error(500)])).await;
    stage.settled("one").await;
    let mut before = stage.attempt("one").await;
    for _ in 0..2 {
        before = stage.attempt("one").await;
    }
    let next = instant(&before, "nextAttemptAt");
    assert_eq!((failures(&before), stage.exchanges("one")), (3, 4));
    stage.restart(async |_| ()).await;
    stage.squadcast.wait_for_count("rt-one", 5, DEADLINE).await;
    let came = stage.squadcast.requests("rt-one")[4].wall;
    let due: std::time::SystemTime = next.into();
    assert!(came >= due, "tried {:?} too early", due.duration_since(came));
    let after = stage.wait_status("one", "a fourth failure", |r| failures(r) == 4).await;
    assert_eq!(conditions(&after), unsynced("ServiceUnavailable"));
    assert_backed_off(&after, 300);
}

#[tokio::test]
async fn a_brief_outage_leaves_ready_true() {
    let stage = Stage::new("outage").await;
    stage.resource("one", Script::of([Reply::token(), Reply::error(503), Reply::token()])).await;
    let issued = stage.settled("one").await;
    let down = stage.attempt("one").await;
    assert_eq!(conditions(&down), unsynced("ServiceUnavailable"));
    let up = stage.settled("one").await;
    let ready = |resource: &serde_json::Value| crate::support::world::condition(resource, "Ready").unwrap();
    assert_eq!(ready(&down), ready(&issued), "an outage is no event for Ready");
    assert_eq!(ready(&up), ready(&issued));
    assert_eq!(failures(&up), 0);
    assert_eq!(stage.exchanges("one"), 3);
    eventually("the events", DEADLINE, async || {
        stage.event_reasons("one").await == ["TokenIssued", "ServiceUnavailable", "TokenRenewed"]
    })
    .await;
}

#[tokio::test]
async fn an_outage_ends_ready_at_the_moment_of_expiry() {
    let stage = Stage::new("outage-expiry").await;
    stage.resource("one", Script::of([Reply::token().life(15), Reply::error(503)])).await;
    stage.settled("one").await;
    let gone = stage.wait_conditions("one", &all_false("ServiceUnavailable")).await;
    let ready = crate::support::world::condition(&gone, "Ready").unwrap();
    let turned: jiff::Timestamp = ready["lastTransitionTime"].as_str().unwrap().parse().unwrap();
    assert!(turned >= instant(&gone, "expiresAt"), "{ready}");
    assert!(!stage.written("one").await.0.is_empty(), "the Secret itself stays");
}

#[tokio::test]
async fn an_exchange_that_hangs_does_not_keep_ready_true_beyond_expiry() {
    let world = World::new("hang-expiry").await;
    let stage = Stage::with(world, &["--exchange-timeout=300s".to_owned()]).await;
    let gate = Gate::new();
    let script = Script::of([Reply::token().life(15), Reply::token().hold(&gate)]);
    stage.resource("one", script).await;
    stage.settled("one").await;
    stage.squadcast.wait_for_count("rt-one", 2, DEADLINE).await;
    stage.wait_status("one", "Ready=False", |r| conditions(r).starts_with("Ready=False")).await;
    stage.operator.wait_for_log("there is no usable token any more").await;
    gate.release();
    stage.settled("one").await;
    // Told when it happened, and not again with the answer.
    let told = stage.operator.log().matches("there is no usable token any more").count();
    assert_eq!(told, 1, "{}", stage.operator.log());
}

#[tokio::test]
async fn squadcasts_words_are_cleaned_and_hold_no_token() {
    let stage = Stage::new("words").await;
    let words = format!("first\u{7}\n\u{1b}[31mline rt-echo {}", "x".repeat(400));
    let meta = json!({ "status": 400, "error_message": words });
    stage.resource("echo", Reply::error_with(400, &meta)).await;
    let resource = stage.wait_conditions("echo", &stalled("RequestRejected")).await;
    let said = message(&resource, "Synced");
    assert!(said.contains("first") && !said.contains("rt-echo"), "{said}");
    assert!(!said.chars().any(char::is_control), "{said:?}");
    let run = said.chars().filter(|c| *c == 'x').count();
    assert!((200..=256 + 4).contains(&run), "{run} in {said}");
    eventually("the event", DEADLINE, async || {
        let events = stage.events("echo").await;
        events.first().and_then(|event| event.note.clone()).filter(|note| !note.contains("rt-echo"))
    })
    .await;
    assert!(!stage.operator.log().contains("rt-echo"));
    assert!(!stage.operator.log().contains('\u{7}'));
}

#[tokio::test]
async fn a_source_of_no_use_is_told_and_recovers_when_it_changes() {
    let stage = Stage::new("sources").await;
    let long = "x".repeat(4097);
    let cases = [
        ("missing", None, "RefreshTokenSecretNotFound", "does not exist"),
        ("keyless", Some(("other", "x")), "RefreshTokenKeyNotFound", "it has other"),
        ("empty", Some(("refresh_token", "")), "RefreshTokenInvalid", "is empty"),
        ("blank", Some(("refresh_token", " \n\t")), "RefreshTokenInvalid", "is empty"),
        ("long", Some(("refresh_token", &*long)), "RefreshTokenInvalid", "4 KiB"),
        ("lines", Some(("refresh_token", "a\nb")), "RefreshTokenInvalid", "header"),
        ("letters", Some(("refresh_token", "schlüssel")), "RefreshTokenInvalid", "header"),
    ];
    join_all(cases.map(async |(name, data, reason, part)| {
        if let Some(data) = data {
            stage.put_secret(&source(name), &[data]).await;
        }
        stage.credential(name, &source(name), &target(name)).await;
        // Not stalled: it goes on by itself when the Secret changes.
        let resource = stage.wait_conditions(name, &all_false(reason)).await;
        let said = message(&resource, "Synced");
        assert!(said.contains(part) && said.contains(&source(name)), "{name}: {said}");
        assert!(said.contains("refresh_token"), "{name}: {said}");
        if let Some(("refresh_token", value)) = data.filter(|(_, value)| value.len() > 1) {
            assert!(!said.contains(value), "{name}: {said}");
        }
        stage.squadcast.accept(&token(name));
        stage.put_secret(&source(name), &[("refresh_token", &format!(" {}\n", token(name)))]).await;
        stage.settled(name).await;
        assert_eq!(stage.exchanges(name), 1, "{name}: white space around the value is no part of it");
        eventually("its events", DEADLINE, async || {
            // One may come before: of two things made at once, the operator hears of either first.
            stage.event_reasons(name).await.ends_with(&[reason.to_owned(), "TokenIssued".to_owned()])
        })
        .await;
    }))
    .await;
    assert_eq!(stage.squadcast.all_requests().len(), 7, "nothing else was asked");
}

#[tokio::test]
async fn a_source_that_goes_leaves_ready_true_while_the_token_is_good() {
    let stage = Stage::new("source-gone").await;
    stage.resource("one", Reply::token()).await;
    stage.settled("one").await;
    stage.delete_secret(&source("one")).await;
    stage.wait_conditions("one", &unsynced("RefreshTokenSecretNotFound")).await;
    stage.put_secret(&source("one"), &[("refresh_token", "rt-one")]).await;
    stage.settled("one").await;
    assert_eq!(stage.exchanges("one"), 1);
}

#[tokio::test]
async fn only_labelled_sources_are_read_where_the_label_is_required() {
    let stage = Stage::with(World::new("label").await, &["--require-source-label".to_owned()]).await;
    stage.resource("one", Reply::token()).await;
    let resource = stage.wait_conditions("one", &all_false("RefreshTokenNotAllowed")).await;
    let said = message(&resource, "Synced");
    assert!(said.contains("credentials.squadcast.com/refresh-token: \"true\""), "{said}");
    assert_eq!(stage.exchanges("one"), 0);
    let labels = json!({ "credentials.squadcast.com/refresh-token": "true" });
    let data = json!({ "refresh_token": "rt-one" });
    stage.apply_secret(&source("one"), json!({ "metadata": { "labels": labels }, "stringData": data })).await;
    stage.settled("one").await;
    // The label taken away again: the token that is there stays good.
    stage.put_secret(&source("one"), &[("refresh_token", "rt-one")]).await;
    stage.wait_conditions("one", &unsynced("RefreshTokenNotAllowed")).await;
    assert_eq!(stage.exchanges("one"), 1);
}

#[tokio::test]
async fn an_unknown_region_stalls_until_it_is_corrected() {
    let stage = Stage::new("region").await;
    stage.source("one", Reply::token()).await;
    let mut wrong = spec("one", json!({}));
    wrong["region"] = "mars".into();
    stage.apply("one", wrong.clone()).await;
    let resource = stage.wait_conditions("one", &stalled("UnknownRegion")).await;
    let said = message(&resource, "Stalled");
    for part in ["mars", "us", "eu", REGION, "--region"] {
        assert!(said.contains(part), "{said}");
    }
    stage.apply("one", spec("one", json!({}))).await;
    stage.settled("one").await;
    // A token of another region is no token for Ready.
    stage.apply("one", wrong).await;
    stage.wait_conditions("one", &stalled("UnknownRegion")).await;
    assert_eq!(stage.exchanges("one"), 1);
}
