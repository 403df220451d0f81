//! What each answer means: statuses, tokens of no use, redirects, sizes, clocks.

use std::time::Duration;

use serde_json::json;
use squadcast_operator::api::Reason;

use super::{Setup, TOKEN, exchange, failure, grant, host};
use crate::support::{Reply, Script, Squadcast};

#[tokio::test]
async fn every_status() {
    let squadcast = Squadcast::start();
    let client = Setup::of(&squadcast).client();
    for (status, reason) in [
        (400, Reason::RequestRejected),
        (401, Reason::RefreshTokenRejected),
        (402, Reason::PaymentRequired),
        (403, Reason::RefreshTokenRejected),
        (404, Reason::RequestRejected),
        (409, Reason::ServiceUnavailable),
        (422, Reason::RequestRejected),
        (429, Reason::RateLimited),
        (418, Reason::InvalidResponse),
        (500, Reason::ServiceUnavailable),
        (503, Reason::ServiceUnavailable),
    ] {
        let told = failure(&client, &squadcast, Reply::error(status)).await;
        assert_eq!((told.reason, told.retry_after), (reason, None), "{status}");
        let page = failure(&client, &squadcast, Reply::html(status)).await;
        let reason = match status {
            400..=404 | 418 | 422 => Reason::InvalidResponse,
            _ => reason,
        };
        assert_eq!(page.reason, reason, "{status}");
        if reason == Reason::InvalidResponse {
            let start = format!("{} answered HTTP {status} (text/html): ", host(&squadcast));
            assert!(page.message.starts_with(&start), "{}", page.message);
        }
        let again = failure(&client, &squadcast, Reply::html(status)).await;
        assert_eq!(again.message, page.message);
    }
    let told = failure(&client, &squadcast, Reply::error(429).retry_after("17")).await;
    assert_eq!(told.retry_after, Some(Duration::from_secs(17)));
}

#[tokio::test]
async fn tokens_of_no_use() {
    let squadcast = Squadcast::start();
    let client = Setup::of(&squadcast).client();
    let mut cases = vec![
        Reply::html(200),
        Reply::raw(200, "application/json", ""),
        Reply::raw(200, "application/json", [0xff, 0xfe]),
        Reply::token().access_token(""),
        Reply::token().access_token("a\nb"),
        Reply::token().field("expires_at", json!("soon")),
        Reply::token().life(4),
        Reply::token().life(20 * 366 * 86400),
        Reply::example(),
        Reply::redirect(204, ""),
    ];
    for name in ["access_token", "refresh_token", "type", "issued_at", "expires_at"] {
        cases.push(Reply::token().without(name));
    }
    for reply in cases {
        let told = failure(&client, &squadcast, reply.clone()).await;
        assert_eq!(told.reason, Reason::InvalidResponse, "{reply:?}: {}", told.message);
    }
    let granted = grant(&client, &squadcast, Reply::token().refresh_token("another one")).await;
    assert_eq!(granted.rotated.unwrap().expose(), "another one");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let squadcast = Squadcast::start();
    let client = Setup::of(&squadcast).client();
    for status in [301, 302, 303, 307, 308] {
        let location = format!("{}/oauth/access-token", squadcast.url());
        let told = failure(&client, &squadcast, Reply::redirect(status, &location)).await;
        assert_eq!(told.reason, Reason::InvalidResponse);
        assert!(told.message.contains("a redirect is not followed"), "{}", told.message);
    }
    assert_eq!(squadcast.all_requests().len(), 5);
}

#[tokio::test]
async fn long_bodies() {
    const LIMIT: usize = 64 * 1024;
    let squadcast = Squadcast::start();
    let client = Setup::of(&squadcast).client();
    for reply in [Reply::token(), Reply::token().chunked()] {
        grant(&client, &squadcast, reply.clone().size(LIMIT)).await;
        for size in [LIMIT + 1, 200 * LIMIT] {
            let told = failure(&client, &squadcast, reply.clone().size(size)).await;
            assert_eq!(told.reason, Reason::InvalidResponse);
            assert!(told.message.contains("over 64 KiB"), "{}", told.message);
        }
    }
    let told = failure(&client, &squadcast, Reply::error(503).size(200 * LIMIT)).await;
    assert_eq!(told.reason, Reason::ServiceUnavailable);
}

#[tokio::test]
async fn nothing_is_decompressed() {
    let squadcast = Squadcast::start();
    let client = Setup::of(&squadcast).client();
    let told = failure(&client, &squadcast, Reply::token().gzip()).await;
    assert_eq!(told.reason, Reason::InvalidResponse);
}

#[tokio::test]
async fn clocks_that_differ() {
    let squadcast = Squadcast::start();
    let client = Setup::of(&squadcast).client();
    for (skew, told) in [(0, 0), (-3, 0), (7200, 7200), (-7200, -7200)] {
        let began = std::time::Instant::now();
        let granted = grant(&client, &squadcast, Reply::token().skew(skew)).await;
        // A second, and what passes on the way on a busy machine.
        let most = 1 + began.elapsed().as_secs();
        assert!((granted.skew - told).unsigned_abs() <= most, "{skew}: {}", granted.skew);
    }
    // Good for a minute by Squadcast's clock, though long past or far away by ours.
    for skew in [7200, -7200] {
        grant(&client, &squadcast, Reply::token().skew(skew).life(60)).await;
        let told = failure(&client, &squadcast, Reply::token().skew(skew).life(3)).await;
        assert_eq!(told.reason, Reason::InvalidResponse);
    }
    for reply in [Reply::token().no_date(), Reply::token().no_date().header("Date", "today")] {
        assert_eq!(grant(&client, &squadcast, reply).await.skew, 0);
    }
}

#[tokio::test]
async fn an_echoed_token_is_not_repeated() {
    let squadcast = Squadcast::start();
    let client = Setup::of(&squadcast).client();
    for status in [400, 401, 403, 429, 500, 302, 418] {
        let words = format!("{} token {TOKEN} is unknown, and so is {TOKEN}", "x".repeat(230));
        let reply = Reply::error_with(status, &json!({"status": "error", "error_message": words}))
            .header("Content-Type", &format!("text/{TOKEN}"));
        let told = failure(&client, &squadcast, reply).await;
        assert!(!told.message.contains(&TOKEN[..12]), "{}", told.message);
        assert!(told.message.contains("xxx token [redacted]"), "{}", told.message);
    }
    let twice = Script::of([Reply::token().refresh_token(TOKEN), Reply::error(401)]);
    squadcast.script(TOKEN, twice);
    assert!(exchange(&client, squadcast.url()).await.ok().unwrap().rotated.is_none());
}
