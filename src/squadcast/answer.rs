//! What an answer of the auth service means.

use std::time::Duration;

use jiff::Timestamp;

use super::{AccessToken, RefreshToken};
use crate::api::Reason;

/// A token that Squadcast has granted.
pub struct Grant {
    /// The access token.
    pub access_token: AccessToken,
    /// Squadcast's `type`; `Bearer` where it is that in another case.
    pub token_type: String,
    /// Squadcast's `issued_at`, Unix seconds of its clock.
    pub issued_at: i64,
    /// Squadcast's `expires_at`, Unix seconds of its clock.
    pub expires_at: i64,
    /// Squadcast's clock less ours in seconds, from the `Date` header; 0 where it is 5 s or less, or where
    /// there was no such header.
    pub skew: i64,
    /// The refresh token of the answer, where it differs from the one sent.
    pub rotated: Option<RefreshToken>,
    /// When the request was sent (our clock).
    pub requested_at: Timestamp,
    /// When the answer was there (our clock).
    pub received_at: Timestamp,
}

/// Why there is no token. The message never holds one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// One of the reasons of Squadcast's part of the catalogue.
    pub reason: Reason,
    /// For people: HTTP status and Squadcast's words where there are any, what it usually is, what to do.
    pub message: String,
    /// How long Squadcast asked to wait (429 with `Retry-After`).
    pub retry_after: Option<Duration>,
    /// When the request was sent (our clock).
    pub requested_at: Timestamp,
}
