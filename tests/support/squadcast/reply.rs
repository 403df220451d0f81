//! What the stand-in answers: good tokens, errors and every kind of misbehaviour.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::script::Gate;

/// Where an answer breaks off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The connection closes without a byte.
    BeforeHead,
    /// In the middle of the header lines.
    InHead,
    /// In the middle of the body.
    InBody,
    /// Nothing comes and the connection stays open.
    Silence,
}

/// A token's own numbers and texts.
#[derive(Debug, Clone)]
pub(super) struct TokenSpec {
    pub life: i64,
    pub issued_offset: i64,
    pub times: Option<(i64, i64)>,
    pub access_token: Option<String>,
    pub refresh_token: Option<String>,
    pub rotates: bool,
    pub token_type: String,
    pub repeat: bool,
    pub changes: BTreeMap<String, Option<Value>>,
}

#[derive(Debug, Clone)]
pub(super) enum Content {
    Token(TokenSpec),
    Bytes(Vec<u8>),
}

/// One answer.
#[derive(Debug, Clone)]
pub struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) content: Content,
    pub(super) date: Option<i64>,
    pub(super) delay: Duration,
    pub(super) gate: Option<Gate>,
    pub(super) drip: Option<Duration>,
    pub(super) cut: Option<Cut>,
    pub(super) chunked: bool,
    pub(super) gzip: bool,
    pub(super) size: usize,
    pub(super) close: bool,
}

const HOUR: i64 = 3600;

impl Reply {
    fn new(status: u16, content: Content, content_type: &str) -> Self {
        Self {
            status,
            headers: vec![("Content-Type".to_owned(), content_type.to_owned())],
            content,
            date: Some(0),
            delay: Duration::ZERO,
            gate: None,
            drip: None,
            cut: None,
            chunked: false,
            gzip: false,
            size: 0,
            close: false,
        }
    }

    /// A new token, good for 48 h.
    pub fn token() -> Self {
        let spec = TokenSpec {
            life: 48 * HOUR,
            issued_offset: 0,
            times: None,
            access_token: None,
            refresh_token: None,
            rotates: false,
            token_type: "Bearer".to_owned(),
            repeat: false,
            changes: BTreeMap::new(),
        };
        Self::new(200, Content::Token(spec), "application/json; charset=utf-8")
    }

    /// The published example's times, long past: issued 1587240070, expires 1587412870.
    pub fn example() -> Self {
        Self::token().times(1_587_240_070, 1_587_412_870)
    }

    /// Squadcast's documented error with a text that fits the status.
    pub fn error(status: u16) -> Self {
        Self::error_with(status, &json!({"status": status, "error_message": message(status)}))
    }

    /// Squadcast's error with a `meta` of one's own: a textual `status`, a message, more keys.
    pub fn error_with(status: u16, meta: &Value) -> Self {
        Self::json(status, &json!({ "meta": meta }))
    }

    /// Any JSON.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::raw(status, "application/json", body.to_string())
    }

    /// Any body: text, broken JSON, bytes that are no UTF-8, nothing.
    pub fn raw(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new(status, Content::Bytes(body.into()), content_type)
    }

    /// A page for people, as a proxy, a firewall or a login answers.
    pub fn html(status: u16) -> Self {
        Self::raw(status, "text/html", "<!DOCTYPE html><html><title>Sign in</title><form></form></html>")
    }

    pub fn redirect(status: u16, location: &str) -> Self {
        Self::raw(status, "text/plain", "moved").header("Location", location)
    }

    /// Takes the request and never answers.
    pub fn silence() -> Self {
        Self::token().cut(Cut::Silence)
    }

    fn spec(mut self, change: impl FnOnce(&mut TokenSpec)) -> Self {
        match &mut self.content {
            Content::Token(spec) => change(spec),
            Content::Bytes(_) => panic!("only an answer with a token has this setting"),
        }
        self
    }

    /// The token's life in seconds.
    #[must_use]
    pub fn life(self, seconds: i64) -> Self {
        self.spec(|spec| spec.life = seconds)
    }

    /// Moves `issued_at` (and `expires_at` with it) from now.
    #[must_use]
    pub fn issued_offset(self, seconds: i64) -> Self {
        self.spec(|spec| spec.issued_offset = seconds)
    }

    /// These very times.
    #[must_use]
    pub fn times(self, issued_at: i64, expires_at: i64) -> Self {
        self.spec(|spec| spec.times = Some((issued_at, expires_at)))
    }

    /// The token that this refresh token got last, with its times, while it has not expired.
    #[must_use]
    pub fn repeat(self) -> Self {
        self.spec(|spec| spec.repeat = true)
    }

    /// Another refresh token in the answer. It is known to the stand-in only once it has a script too.
    #[must_use]
    pub fn refresh_token(self, text: &str) -> Self {
        self.spec(|spec| spec.refresh_token = Some(text.to_owned()))
    }

    /// A new refresh token in each answer, in place of the one sent, which is rejected from then on.
    #[must_use]
    pub fn rotates(self) -> Self {
        self.spec(|spec| spec.rotates = true)
    }

    #[must_use]
    pub fn token_type(self, text: &str) -> Self {
        self.spec(|spec| text.clone_into(&mut spec.token_type))
    }

    #[must_use]
    pub fn access_token(self, text: &str) -> Self {
        self.spec(|spec| spec.access_token = Some(text.to_owned()))
    }

    /// A field of `data` with this value: one more, or one of the wrong type.
    #[must_use]
    pub fn field(self, name: &str, value: Value) -> Self {
        self.spec(|spec| drop(spec.changes.insert(name.to_owned(), Some(value))))
    }

    /// Leaves a field of `data` out.
    #[must_use]
    pub fn without(self, name: &str) -> Self {
        self.spec(|spec| drop(spec.changes.insert(name.to_owned(), None)))
    }

    /// The server's clock is off by so many seconds: the `Date` header and the token's times.
    #[must_use]
    pub fn skew(mut self, seconds: i64) -> Self {
        self.date = Some(seconds);
        self
    }

    #[must_use]
    pub fn no_date(mut self) -> Self {
        self.date = None;
        self
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn retry_after(self, value: &str) -> Self {
        self.header("Retry-After", value)
    }

    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Waits for the gate before it answers.
    #[must_use]
    pub fn hold(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    /// The body comes one byte at a time with this pause between two.
    #[must_use]
    pub fn drip(mut self, pause: Duration) -> Self {
        self.drip = Some(pause);
        self
    }

    #[must_use]
    pub fn cut(mut self, cut: Cut) -> Self {
        self.cut = Some(cut);
        self
    }

    /// Without Content-Length.
    #[must_use]
    pub fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    /// With `Content-Encoding: gzip`, whatever the client accepts.
    #[must_use]
    pub fn gzip(mut self) -> Self {
        self.gzip = true;
        self
    }

    /// Fills the body with white space, which JSON allows at its end, up to so many bytes.
    #[must_use]
    pub fn size(mut self, bytes: usize) -> Self {
        self.size = bytes;
        self
    }

    /// Closes the connection after the answer.
    #[must_use]
    pub fn close(mut self) -> Self {
        self.close = true;
        self
    }
}

fn message(status: u16) -> &'static str {
    match status {
        400 => "invalid request",
        401 => "unauthorized: invalid refresh token",
        402 => "payment required",
        403 => "access is forbidden",
        404 => "resource not found",
        409 => "conflict",
        422 => "validation failed",
        429 => "too many requests",
        _ => "internal server error",
    }
}
