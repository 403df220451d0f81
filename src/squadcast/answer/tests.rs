//! Every row of what an answer may be, and that nothing in an answer does harm.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const SENT: &str = "4d1f0c9be7a86235";
const NEXT: &str = "a7c3e5908f1b2d64";
const ACCESS: &str = "eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl";
const NOW: i64 = 1_700_000_000;
const ISSUED: i64 = NOW - 10;
const EXPIRES: i64 = NOW + 172_800;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn sent() -> RefreshToken {
    RefreshToken::parse(SENT.as_bytes()).unwrap()
}

fn reply(status: u16, body: impl Into<Vec<u8>>) -> Reply {
    Reply {
        status,
        content_type: Some("text/html; charset=utf-8".to_owned()),
        retry_after: None,
        date: None,
        head_at: at(NOW),
        body: Body::Whole(Zeroizing::new(body.into())),
    }
}

fn ask(reply: Reply) -> Result<Grant, Failure> {
    let region = Region::parse("us=https://auth.squadcast.com", false).unwrap();
    classify(reply, &sent(), &region, Some("http://proxy:3128"), at(NOW - 1), at(NOW))
}

fn fails(reply: Reply) -> Failure {
    let failure = ask(reply).err().expect("a failure");
    assert_eq!(failure.requested_at, at(NOW - 1));
    // `check` tells it as well, from another machine.
    assert!(!failure.message.contains("operator"), "{}", failure.message);
    failure
}

fn granted() -> Value {
    json!({"data": {"access_token": ACCESS, "refresh_token": SENT, "type": "bearer",
        "issued_at": ISSUED, "expires_at": EXPIRES, "more": [1]}, "meta": null})
}

/// The token of an answer in which one field of `data` is another.
fn with(field: &str, value: Value) -> Result<Grant, Failure> {
    let mut body = granted();
    body["data"][field] = value;
    ask(reply(200, body.to_string()))
}

fn error(status: u16) -> Reply {
    let body = json!({"meta": {"status": status, "error_message": "no such thing"}, "error_details": {}});
    reply(status, body.to_string())
}

#[test]
fn a_token() {
    let grant = ask(reply(200, granted().to_string())).ok().unwrap();
    assert_eq!(grant.access_token.expose(), ACCESS);
    assert_eq!(grant.token_type, "Bearer");
    assert_eq!((grant.issued_at, grant.expires_at, grant.skew), (ISSUED, EXPIRES, 0));
    assert_eq!((grant.requested_at, grant.received_at), (at(NOW - 1), at(NOW)));
    assert!(grant.rotated.is_none());
}

#[test]
fn errors_in_squadcasts_words() {
    for (status, reason, advice) in [
        (400, Reason::RequestRejected, "another region than \"us\""),
        (404, Reason::RequestRejected, "another region than \"us\""),
        (422, Reason::RequestRejected, "another region than \"us\""),
        (401, Reason::RefreshTokenRejected, "revoked, its user was removed"),
        (403, Reason::RefreshTokenRejected, "revoked, its user was removed"),
        (402, Reason::PaymentRequired, "plan has ended"),
        (429, Reason::RateLimited, "slow down"),
        (409, Reason::ServiceUnavailable, "Squadcast has a fault of its own in region"),
        (500, Reason::ServiceUnavailable, "Squadcast has a fault of its own in region"),
        (502, Reason::ServiceUnavailable, "Squadcast has a fault of its own in region"),
        (503, Reason::ServiceUnavailable, "Squadcast has a fault of its own in region"),
        (599, Reason::ServiceUnavailable, "Squadcast has a fault of its own in region"),
        (302, Reason::InvalidResponse, "redirect is not followed"),
        (405, Reason::InvalidResponse, "no meaning"),
    ] {
        let failure = fails(error(status));
        assert_eq!(failure.reason, reason, "{status}");
        assert_eq!(failure.retry_after, None);
        let start = format!("auth.squadcast.com answered HTTP {status}, \"no such thing\"");
        assert!(failure.message.starts_with(&start), "{}", failure.message);
        assert!(failure.message.contains(advice), "{}", failure.message);
        // `check` tries nothing again; what does says so itself.
        assert!(!failure.message.contains("by itself"), "{}", failure.message);
    }
}

#[test]
fn errors_in_other_words() {
    for body in
        ["", "<html>", "null", "[]", "{}", "\"meta\"", "{\"meta\":\"x\"}", "{\"meta\":{}", "\u{feff}{}"]
    {
        for status in [100, 199, 201, 204, 301, 308, 400, 401, 402, 403, 404, 405, 407, 418, 422, 451, 600] {
            let failure = fails(reply(status, body));
            assert_eq!(failure.reason, Reason::InvalidResponse, "{status} {body}");
            let start = format!(
                "auth.squadcast.com answered HTTP {status} (text/html) through the proxy http://proxy:3128: "
            );
            assert!(failure.message.starts_with(&start), "{}", failure.message);
        }
        for status in [409, 500, 502, 503, 504, 520] {
            assert_eq!(fails(reply(status, body)).reason, Reason::ServiceUnavailable, "{status} {body}");
        }
        assert_eq!(fails(reply(429, body)).reason, Reason::RateLimited);
    }
}

#[test]
fn an_error_may_lack_everything_but_meta() {
    for body in ["{\"meta\":{}}", "{\"meta\":{\"status\":\"401\",\"error_message\":7}}"] {
        let failure = fails(reply(401, body));
        assert_eq!(failure.reason, Reason::RefreshTokenRejected, "{body}");
        assert!(failure.message.starts_with("auth.squadcast.com answered HTTP 401. "), "{}", failure.message);
    }
}

#[test]
fn a_body_that_is_not_whole() {
    for (status, reason) in [
        (200, Reason::InvalidResponse),
        (401, Reason::InvalidResponse),
        (429, Reason::RateLimited),
        (409, Reason::ServiceUnavailable),
        (503, Reason::ServiceUnavailable),
    ] {
        for body in [Body::TooLong, Body::BrokenOff] {
            assert_eq!(fails(Reply { body, ..reply(status, "") }).reason, reason, "{status}");
        }
        assert_eq!(is_told_by_status(status), reason != Reason::InvalidResponse);
    }
}

#[test]
fn what_is_no_token() {
    let cases = [
        ("access_token", json!(""), "empty"),
        ("access_token", json!("a\nb"), "not allowed"),
        ("access_token", json!(" a"), "not allowed"),
        ("access_token", json!(7), "\"data.access_token\" is missing"),
        ("refresh_token", json!(null), "\"data.refresh_token\" is missing"),
        ("type", json!(["Bearer"]), "\"data.type\" is missing"),
        ("issued_at", json!("1700000000"), "\"data.issued_at\" is missing"),
        ("issued_at", json!(1.5), "\"data.issued_at\" is missing"),
        ("expires_at", json!(u64::MAX), "\"data.expires_at\" is missing"),
        ("expires_at", json!(i64::MIN), "expired"),
        ("expires_at", json!(0), "expired"),
        ("expires_at", json!(NOW + 5), "expired"),
        ("expires_at", json!(NOW + MAX_LIFE + 1), "10 years"),
        ("expires_at", json!(i64::MAX), "10 years"),
    ];
    for (field, value, why) in cases {
        let failure = with(field, value.clone()).err().expect(why);
        assert_eq!(failure.reason, Reason::InvalidResponse);
        assert!(failure.message.contains(why), "{field} {value}: {}", failure.message);
    }
    for field in ["access_token", "refresh_token", "type", "issued_at", "expires_at"] {
        let mut body = granted();
        body["data"].as_object_mut().unwrap().remove(field);
        let failure = fails(reply(200, body.to_string()));
        assert!(failure.message.contains(&format!("\"data.{field}\" is missing")), "{}", failure.message);
    }
    for body in ["", "<html>", "{}", "{\"data\":[]}", "[{}]", &granted().to_string()[1..]] {
        assert_eq!(fails(reply(200, body)).reason, Reason::InvalidResponse, "{body}");
    }
}

#[test]
fn what_is_just_a_token() {
    for (field, value) in [
        ("expires_at", json!(NOW + 6)),
        ("expires_at", json!(NOW + MAX_LIFE)),
        ("issued_at", json!(i64::MIN)),
        ("issued_at", json!(0)),
    ] {
        assert!(with(field, value).is_ok());
    }
}

#[test]
fn types_of_tokens() {
    for (answer, kept) in [
        ("Bearer", "Bearer"),
        ("BEARER", "Bearer"),
        (" bearer ", "Bearer"),
        ("MAC", "MAC"),
        ("", "Bearer"),
        ("a\r\nX-Evil: b", "Bearer"),
    ] {
        assert_eq!(with("type", json!(answer)).ok().unwrap().token_type, kept, "{answer:?}");
    }
}

#[test]
fn rotation() {
    let rotated = |answer: &str| with("refresh_token", json!(answer)).ok().unwrap().rotated;
    assert_eq!(rotated(NEXT).unwrap().expose(), NEXT);
    assert_eq!(rotated(&format!(" {NEXT}\n")).unwrap().expose(), NEXT);
    for answer in [SENT, " 4d1f0c9be7a86235 ", "", " ", "a\nb", &"a".repeat(4097)] {
        assert!(rotated(answer).is_none(), "{answer:?}");
    }
}

#[test]
fn clocks_that_differ() {
    // Two hours ahead: a token that our clock would call good is not, and the other way round.
    let ahead = |expires: i64, date: Option<&str>| {
        let mut body = granted();
        body["data"]["expires_at"] = json!(expires);
        ask(Reply { date: date.map(str::to_owned), ..reply(200, body.to_string()) })
    };
    let date = Some("Wed, 15 Nov 2023 00:13:20 GMT");
    assert_eq!(ahead(NOW + 7206, date).ok().unwrap().skew, 7200);
    assert!(ahead(NOW + 7205, date).is_err());
    assert!(ahead(NOW + 7205, None).is_ok());
    let behind = Some("Tue, 14 Nov 2023 20:13:20 GMT");
    assert_eq!(ahead(NOW - 7194, behind).ok().unwrap().skew, -7200);
    for nonsense in ["", "yesterday", "Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"] {
        assert_eq!(ahead(EXPIRES, Some(nonsense)).ok().unwrap().skew, 0, "{nonsense}");
    }
}

#[test]
fn waits_by_the_servers_clock() {
    let wait = |retry_after: &str, date: Option<&str>| {
        let retry_after = Some(retry_after.to_owned());
        fails(Reply { retry_after, date: date.map(str::to_owned), ..error(429) }).retry_after
    };
    let seconds = |n| Some(Duration::from_secs(n));
    assert_eq!(wait("30", None), seconds(30));
    assert_eq!(wait("Tue, 14 Nov 2023 22:14:20 GMT", None), seconds(60));
    assert_eq!(wait("Tue, 14 Nov 2023 22:14:20 GMT", Some("Tue, 14 Nov 2023 22:14:10 GMT")), seconds(10));
    assert_eq!(wait("later", None), None);
    // Only a 429 is waited for.
    let failure = fails(Reply { retry_after: Some("30".to_owned()), ..error(503) });
    assert_eq!(failure.retry_after, None);
}

#[test]
fn messages_stay_the_same() {
    for status in [200, 302, 401, 404, 422, 429, 503] {
        assert_eq!(fails(error(status)).message, fails(error(status)).message);
    }
}

#[test]
fn echoed_tokens_are_not_repeated() {
    let body = json!({
        "meta": {"error_message": format!("{}{SENT} {ACCESS} {NEXT}", "x".repeat(200))},
        "data": {"access_token": ACCESS, "refresh_token": NEXT},
    });
    for status in [302, 401, 404, 429, 503] {
        let content_type = Some(format!("text/{SENT}"));
        let failure = fails(Reply { content_type, ..reply(status, body.to_string()) });
        assert!(failure.message.contains("x[redacted] [redacted] [redacted]\""), "{}", failure.message);
        for token in [SENT, ACCESS, NEXT] {
            assert!(!failure.message.contains(token), "{}", failure.message);
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        Just(json!(SENT)),
        Just(json!(ACCESS)),
    ];
    let name = prop_oneof![
        Just("meta"),
        Just("data"),
        Just("error_message"),
        Just("access_token"),
        Just("refresh_token"),
        Just("type"),
        Just("issued_at"),
        Just("expires_at"),
        Just("status"),
    ];
    leaf.prop_recursive(3, 24, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name.clone().prop_map(str::to_owned), inner), 0..8)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_do_harm(status in 100..700u16, body in prop::collection::vec(any::<u8>(), 0..200),
        head in prop::option::of(".{0,40}")) {
        let reply = Reply { content_type: head.clone(), retry_after: head.clone(), date: head, ..reply(status, body) };
        if let Err(failure) = ask(reply) {
            prop_assert!(!failure.message.chars().any(char::is_control));
            prop_assert!(failure.message.chars().count() < 1000);
        }
    }

    #[test]
    fn no_json_makes_a_message_with_a_token(status in prop_oneof![Just(200u16), Just(401), Just(404), 100..600u16], body in any_json()) {
        if let Err(failure) = ask(reply(status, body.to_string())) {
            prop_assert!(!failure.message.contains(SENT));
        }
    }
}
