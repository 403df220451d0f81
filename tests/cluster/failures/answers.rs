//! Answers that hold no token and are no rejection: of a service that is down, of others, of no sense.

use serde_json::json;

use super::assert_transient;
use crate::{
    steps::Stage,
    support::{Cut, Reply},
};

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
