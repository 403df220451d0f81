//! Answers of the auth service, with their headers: never a panic, never a token in a message, never a grant that
//! is none.

#![no_main]

use std::sync::LazyLock;

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use squadcast_operator::squadcast::{Body, RefreshToken, Region, Reply, classify};
use zeroize::Zeroizing;

const SENT: &str = "canary-refresh-token-0123456789";
const NOW: i64 = 1_700_000_000;

static REGION: LazyLock<Region> =
    LazyLock::new(|| Region::parse("us=https://auth.squadcast.com", false).expect("a region"));
static TOKEN: LazyLock<RefreshToken> =
    LazyLock::new(|| RefreshToken::parse(SENT.as_bytes()).expect("a refresh token"));

/// Status, then three headers as lines, then the body.
fn reply(data: &[u8]) -> Option<Reply> {
    let (status, rest) = data.split_first_chunk::<2>()?;
    let mut parts = rest.splitn(4, |byte| *byte == b'\n');
    let mut header = || {
        let text = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
        (!text.is_empty()).then_some(text)
    };
    let (content_type, retry_after, date) = (header(), header(), header());
    let body = parts.next().unwrap_or_default();
    Some(Reply {
        // Most of what is interesting happens with these.
        status: match u16::from_le_bytes(*status) % 1000 {
            known @ (200 | 301 | 400..=409 | 422 | 429 | 500..=504) => known,
            other if other % 2 == 0 => 200,
            other => other,
        },
        content_type,
        retry_after,
        date,
        head_at: Timestamp::from_second(NOW).ok()?,
        body: match body {
            b"too long" => Body::TooLong,
            b"broken off" => Body::BrokenOff,
            // As a server that repeats what it was sent.
            echo => Body::Whole(Zeroizing::new(String::from_utf8_lossy(echo).replace("$", SENT).into_bytes())),
        },
    })
}

fuzz_target!(|data: &[u8]| {
    let Some(reply) = reply(data) else { return };
    let at = Timestamp::from_second(NOW).expect("a time");
    match classify(reply, &TOKEN, &REGION, Some("http://proxy.test:3128"), at, at) {
        Ok(grant) => {
            let left = grant.expires_at - (NOW + grant.skew);
            assert!(left > 5 && left <= 3653 * 86_400, "{left} s are left");
            assert!(!grant.access_token.expose().is_empty());
            assert!(grant.access_token.expose().bytes().all(|byte| byte == b'\t' || (32..127).contains(&byte)));
            assert!(grant.rotated.is_none_or(|new| new != *TOKEN));
        }
        Err(failure) => {
            let message = failure.message;
            assert!(!message.contains(SENT), "{message}");
            assert!(!message.chars().any(char::is_control), "{message:?}");
            assert!(message.chars().count() < 2000, "{} characters", message.chars().count());
            assert!(failure.retry_after.is_none_or(|wait| (1..=3600).contains(&wait.as_secs())));
        }
    }
});
