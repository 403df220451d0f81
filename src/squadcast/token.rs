//! Tokens in memory. Neither type has `Debug`, `Display` or `Serialize`, and both are zeroed when dropped.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// The longest refresh token that is sent, in bytes.
const MAX_REFRESH_TOKEN: usize = 4096;

/// What the fingerprint is salted with, so that it is of no use in tables made for other purposes.
const FINGERPRINT_PREFIX: &[u8] = b"squadcast-operator/refresh-token/v1\0";

/// A refresh token: long-lived, given to a person by Squadcast's web application.
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshToken(Zeroizing<Box<str>>);

/// Why a value is no refresh token; never holds the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRefreshToken {
    /// Nothing but white space.
    #[error("is empty")]
    Empty,
    /// Over 4 KiB.
    #[error("is over 4 KiB long")]
    TooLong,
    /// Holds what no HTTP header may hold.
    #[error(
        "holds a character that is not allowed in an HTTP header (a line break or a non-ASCII character)"
    )]
    NotAHeaderValue,
}

impl RefreshToken {
    /// Reads a refresh token; white space around it is ignored.
    pub fn parse(value: &[u8]) -> Result<Self, InvalidRefreshToken> {
        let value = value.trim_ascii();
        if value.is_empty() {
            return Err(InvalidRefreshToken::Empty);
        }
        if value.len() > MAX_REFRESH_TOKEN {
            return Err(InvalidRefreshToken::TooLong);
        }
        let text = std::str::from_utf8(value).map_err(|_| InvalidRefreshToken::NotAHeaderValue)?;
        if !is_header_value(text) {
            return Err(InvalidRefreshToken::NotAHeaderValue);
        }
        Ok(Self(Zeroizing::new(text.into())))
    }

    /// The token itself. Only for the request's header, the write-back, and the redaction of echoes.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Stands for this token in a region.
    pub fn fingerprint(&self, region: &str) -> Fingerprint {
        let mut hash = Sha256::new();
        hash.update(FINGERPRINT_PREFIX);
        hash.update(region.as_bytes());
        hash.update([0]);
        hash.update(self.0.as_bytes());
        let digest = hash.finalize();
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        Fingerprint(u64::from_be_bytes(first))
    }
}

/// An access token: short-lived, what workloads send as `Authorization: Bearer`.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken(Zeroizing<Box<str>>);

impl AccessToken {
    /// Takes a token from an answer; `None` where it is empty or no legal header value (which neither
    /// begins nor ends with a space).
    pub fn parse(value: &str) -> Option<Self> {
        let legal = !value.is_empty() && value.trim_ascii().len() == value.len() && is_header_value(value);
        legal.then(|| Self(Zeroizing::new(value.into())))
    }

    /// The token itself. Only for rendering the target Secret and the redaction of echoes.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Visible ASCII and spaces: what every server takes in a header.
pub(super) fn is_header_value(text: &str) -> bool {
    text.bytes().all(|b| (b' '..=b'~').contains(&b))
}

/// Stands for a region and a refresh token where the token itself must not be: the first 64 bits of a
/// SHA-256, shown as 16 hex digits. Enough to see a change, useless to recover a real token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// Reads 16 hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok().map(Self)).flatten()
    }

    /// A fixed share of this refresh token in thousandths, evenly spread over 0 to 999: spreads the renewals
    /// and retries of different refresh tokens and keeps those of one together.
    pub fn permille(self) -> i64 {
        i64::try_from(self.0 % 1000).unwrap_or(0)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(value: &str) -> RefreshToken {
        RefreshToken::parse(value.as_bytes()).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn white_space_around_a_refresh_token_is_ignored() {
        assert_eq!(token(" \t abc\r\n").expose(), "abc");
        assert_eq!(token("abc").fingerprint("us"), token("abc\n").fingerprint("us"));
    }

    #[test]
    fn what_is_no_refresh_token() {
        use InvalidRefreshToken::{Empty, NotAHeaderValue, TooLong};
        for (value, error) in [
            (&b""[..], Empty),
            (b" \n\t ", Empty),
            (b"a\nb", NotAHeaderValue),
            (b"a\0b", NotAHeaderValue),
            ("gr\u{fc}n".as_bytes(), NotAHeaderValue),
            (b"\xff\xfe", NotAHeaderValue),
            (&[b'a'; 4097], TooLong),
        ] {
            assert_eq!(RefreshToken::parse(value).err(), Some(error));
        }
        assert!(RefreshToken::parse(&[b'a'; 4096]).is_ok());
    }

    #[test]
    fn what_is_no_access_token() {
        for value in ["", " ", " a", "a ", "a\nb", "a\0", "gr\u{fc}n", "a\tb"] {
            assert!(AccessToken::parse(value).is_none(), "{value:?}");
        }
        assert!(AccessToken::parse("a b").is_some());
    }

    #[test]
    fn a_fingerprint_tells_regions_and_tokens_apart_and_is_read_back() {
        let us = token("abc").fingerprint("us");
        assert_ne!(us, token("abc").fingerprint("eu"));
        assert_ne!(us, token("abd").fingerprint("us"));
        assert_eq!(us.to_string().len(), 16);
        assert_eq!(Fingerprint::parse(&us.to_string()), Some(us));
        assert_eq!(Fingerprint::parse("xyz"), None);
        assert!((0..1000).contains(&us.permille()));
    }
}
