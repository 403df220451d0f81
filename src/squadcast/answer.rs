//! What an answer of the auth service means. Pure: no clock, no network.

use std::{borrow::Cow, time::Duration};

use jiff::Timestamp;
use zeroize::Zeroizing;

use super::{AccessToken, RefreshToken, Region};
use crate::api::Reason;

mod body;
mod date;
mod message;
#[cfg(test)]
mod tests;

use crate::redact::Redaction;
use body::Json;
use message::Words;

/// The longest body that is read, in bytes.
pub const MAX_BODY: usize = 64 * 1024;

/// An access token must be good for longer than this, in seconds.
const MIN_LIFE: i64 = 5;

/// An access token must not be good for longer than this, in seconds: ten years.
const MAX_LIFE: i64 = 3653 * 24 * 60 * 60;

/// A token that Squadcast has granted. There are as many as exchanges in half a minute.
pub struct Grant {
    /// The access token.
    pub access_token: AccessToken,
    /// Squadcast's `type`; `Bearer` where it is that in another case, or nothing that a header may hold.
    pub token_type: Cow<'static, str>,
    /// Squadcast's `issued_at`, Unix seconds of its clock; not checked: see [`Grant::issued`].
    pub issued_at: i64,
    /// Squadcast's `expires_at`, Unix seconds of its clock; between 5 s and ten years away.
    pub expires_at: i64,
    /// Squadcast's clock less ours in seconds, from the `Date` header; 0 where it is 5 s or less, or where
    /// there was no usable header.
    pub skew: i64,
    /// The refresh token of the answer, where it differs from the one sent and is one that can be sent.
    pub rotated: Option<RefreshToken>,
    /// When the request was sent (our clock).
    pub requested_at: Timestamp,
    /// When the answer was there (our clock).
    pub received_at: Timestamp,
}

impl Grant {
    /// When the token's life began, Unix seconds of Squadcast's clock: `issued_at`, or the moment of the answer where
    /// that makes no sense.
    pub fn issued(&self) -> i64 {
        let life = self.expires_at.saturating_sub(self.issued_at);
        if (1..=MAX_LIFE).contains(&life) {
            self.issued_at
        } else {
            self.received_at.as_second().saturating_add(self.skew)
        }
    }

    /// The same to those who hold the new refresh token already.
    pub(super) fn without_rotation(&self) -> Self {
        Self {
            access_token: self.access_token.clone(),
            token_type: self.token_type.clone(),
            rotated: None,
            ..*self
        }
    }
}

/// Why there is no token. The message never holds one, and is the same each time the same thing happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// One of the reasons of Squadcast's part of the catalogue.
    pub reason: Reason,
    /// For people: HTTP status and Squadcast's words where there are any, what it usually is, what to do.
    pub message: String,
    /// The HTTP status, where an answer came.
    pub status: Option<u16>,
    /// How long Squadcast asked to wait (429 with `Retry-After`), 1 s to 1 h.
    pub retry_after: Option<Duration>,
    /// Squadcast's clock less ours in seconds, where an answer told its time.
    pub skew: Option<i64>,
    /// When the request was sent (our clock).
    pub requested_at: Timestamp,
}

impl Failure {
    /// A failure of which no answer tells more.
    pub(crate) fn unanswered(reason: Reason, message: String, requested_at: Timestamp) -> Self {
        Self { reason, message, status: None, retry_after: None, skew: None, requested_at }
    }
}

/// An answer as it came, as far as it matters.
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Retry-After`.
    pub retry_after: Option<String>,
    /// `Date`.
    pub date: Option<String>,
    /// When the head was there (our clock): what `Date` is compared with.
    pub head_at: Timestamp,
    /// The body.
    pub body: Body,
}

/// The body of an answer.
pub enum Body {
    /// All of it.
    Whole(Zeroizing<Vec<u8>>),
    /// More than is read of any answer: 64 KiB.
    TooLong,
    /// The connection ended before the body did.
    BrokenOff,
}

/// Whether the status alone says what an answer means, whatever its body.
pub fn is_told_by_status(status: u16) -> bool {
    matches!(status, 409 | 429 | 500..=599)
}

/// Says what `reply` means, which the exchange of `sent` in `region` got, through `proxy` where there was one
/// (its URL without user information).
pub fn classify(
    reply: Reply,
    sent: &RefreshToken,
    region: &Region,
    proxy: Option<&str>,
    requested_at: Timestamp,
    received_at: Timestamp,
) -> Result<Grant, Failure> {
    let Reply { status, content_type, retry_after, date, head_at, body } = reply;
    let (json, flaw) = match &body {
        Body::Whole(bytes) => (Json::parse(bytes), "the body is not Squadcast's JSON"),
        Body::TooLong => (None, "the body is over 64 KiB long"),
        Body::BrokenOff => (None, "the connection ended in the middle of the body"),
    };
    drop(body);
    let date = date.as_deref().and_then(date::parse);
    let flaw = if status == 200 {
        let skew = date.map_or(0, |date| date::skew(date, head_at));
        let now = received_at.as_second().saturating_add(skew);
        match json.as_ref().ok_or_else(|| Flaw::Stranger(flaw.to_owned())).and_then(|json| content(json, now))
        {
            Ok(Content { access_token, refresh_token, token_type, issued_at, expires_at }) => {
                let rotated = rotated(refresh_token, sent);
                return Ok(Grant {
                    access_token,
                    token_type,
                    issued_at,
                    expires_at,
                    skew,
                    rotated,
                    requested_at,
                    received_at,
                });
            }
            Err(flaw) => flaw,
        }
    } else {
        Flaw::Stranger(flaw.to_owned())
    };

    let secrets = Redaction::new(std::iter::once(sent.expose()).chain(json.iter().flat_map(Json::tokens)));
    let error = json.as_ref().and_then(Json::error);
    let words = Words {
        status,
        region,
        proxy,
        content_type: content_type.map(|text| secrets.clean(text.split(';').next().unwrap_or_default(), 64)),
        error_message: error.map(|text| secrets.clean(text, 256)),
    };
    let mut wait = None;
    let (reason, message) = match (status, error.is_some()) {
        (429, _) => {
            wait = retry_after.and_then(|text| date::retry_after(&text, date.unwrap_or(head_at)));
            (Reason::RateLimited, words.rate_limited())
        }
        (409 | 500..=599, _) => (Reason::ServiceUnavailable, words.unavailable()),
        (400 | 404 | 422, true) => (Reason::RequestRejected, words.request_rejected()),
        (401 | 403, true) => (Reason::RefreshTokenRejected, words.token_rejected()),
        (402, true) => (Reason::PaymentRequired, words.payment_required()),
        (300..=399, _) => (Reason::InvalidResponse, words.stranger("a redirect is not followed")),
        (200 | 400..=404 | 422, _) => (Reason::InvalidResponse, words.flawed(&flaw)),
        _ => (Reason::InvalidResponse, words.stranger("this status has no meaning here")),
    };
    let skew = date.map(|date| date::skew(date, head_at));
    Err(Failure { reason, message, status: Some(status), retry_after: wait, skew, requested_at })
}

/// What is wrong with an answer that should have been Squadcast's.
enum Flaw {
    /// It does not look like Squadcast's.
    Stranger(String),
    /// It does, but is of no use.
    Unusable(&'static str),
}

struct Content<'a> {
    access_token: AccessToken,
    refresh_token: &'a str,
    token_type: Cow<'static, str>,
    issued_at: i64,
    expires_at: i64,
}

/// What a 200 holds, `now` being Squadcast's clock in Unix seconds.
fn content(json: &Json, now: i64) -> Result<Content<'_>, Flaw> {
    let data =
        json.data().ok_or_else(|| Flaw::Stranger("there is no object \"data\" in the body".to_owned()))?;
    let missing =
        |field: &str, kind: &str| Flaw::Stranger(format!("\"data.{field}\" is missing or no {kind}"));
    let text = |field: &str| data.text(field).ok_or_else(|| missing(field, "text"));
    let number = |field: &str| data.number(field).ok_or_else(|| missing(field, "integer"));
    let access_token = text("access_token")?;
    let refresh_token = text("refresh_token")?;
    let token_type = token_type_of(text("type")?);
    let expires_at = number("expires_at")?;
    let issued_at = number("issued_at")?;
    let access_token = AccessToken::parse(access_token)
        .ok_or(Flaw::Unusable("the access token is empty or not allowed in an HTTP header"))?;
    if expires_at <= now.saturating_add(MIN_LIFE) {
        return Err(Flaw::Unusable("the access token has expired already, or expires within 5 s"));
    }
    if expires_at.saturating_sub(now) > MAX_LIFE {
        return Err(Flaw::Unusable("the access token expires more than 10 years from now"));
    }
    Ok(Content { access_token, refresh_token, token_type, issued_at, expires_at })
}

/// What is no header value would spoil the header that it is put in; Squadcast takes `Bearer` in any case.
fn token_type_of(text: &str) -> Cow<'static, str> {
    let text = text.trim();
    if text.is_empty() || text.eq_ignore_ascii_case("bearer") || !super::token::is_header_value(text) {
        "Bearer".into()
    } else {
        text.to_owned().into()
    }
}

/// A token that could not be sent back is none: the one sent is kept, which has just worked.
fn rotated(returned: &str, sent: &RefreshToken) -> Option<RefreshToken> {
    RefreshToken::parse(returned.as_bytes()).ok().filter(|returned| returned != sent)
}
