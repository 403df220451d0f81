//! What `check` tells, in lines for people and as one object for programs. Pure; holds no token.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::{
    api::Reason,
    schedule::{self, Life, RenewalPolicy},
    squadcast::{Failure, Grant, RefreshToken, Region, advised, between},
};

/// Where the exchange goes.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Way {
    region: String,
    host: String,
    url: String,
    /// Without its user information.
    proxy: Option<String>,
    /// Where the refresh token was read.
    #[serde(skip)]
    from: String,
}

/// What came of it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Told {
    #[serde(flatten)]
    way: Way,
    tls: Tls,
    status: Option<u16>,
    reason: &'static str,
    message: String,
    retry_after_seconds: Option<u64>,
    /// Squadcast's clock less this machine's, 0 where they are not seen to differ by more than 5 s; nothing where no
    /// answer told its time.
    clock_skew_seconds: Option<i64>,
    token: Option<Token>,
    probe: Option<Findings>,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
enum Tls {
    Verified,
    Off,
    /// No answer came.
    NotReached,
}

/// What is known of a token; times are of this machine's clock.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Token {
    issued_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    renew_at: Option<Timestamp>,
    seconds_left: Option<i64>,
    refresh_token_rotated: bool,
}

/// What `--probe` finds out.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Findings {
    access_token_repeated: bool,
    life_restarted: bool,
    refresh_token_changed: bool,
}

impl Way {
    pub(super) fn new(region: &Region, proxy: Option<String>, from: String) -> Self {
        Self {
            region: region.name.clone(),
            host: region.host.clone(),
            url: region.exchange_url.clone(),
            proxy,
            from,
        }
    }

    pub(super) fn lines(&self) -> Vec<String> {
        vec![
            line("region", &self.region),
            line("host", &self.host),
            line("url", &self.url),
            line("proxy", self.proxy.as_deref().unwrap_or("none")),
        ]
    }

    fn told(self, status: Option<u16>, reason: Reason, message: String) -> Told {
        let tls = match status {
            _ if self.url.starts_with("http:") => Tls::Off,
            Some(_) => Tls::Verified,
            None => Tls::NotReached,
        };
        Told {
            tls,
            way: self,
            status,
            reason: reason.as_str(),
            message,
            retry_after_seconds: None,
            clock_skew_seconds: None,
            token: None,
            probe: None,
        }
    }

    /// There is no token that could be sent.
    pub(super) fn unsent(self, why: String) -> Told {
        self.told(None, Reason::RefreshTokenInvalid, why)
    }

    pub(super) fn refused(self, failure: &Failure) -> Told {
        let advice = match failure.reason {
            Reason::RequestRejected | Reason::RefreshTokenRejected => {
                format!("The refresh token was read from \"{}\".", self.from)
            }
            Reason::RateLimited | Reason::ServiceUnavailable => "Wait, then check again.".to_owned(),
            Reason::Timeout | Reason::ConnectionFailed => {
                format!("If it stays, {}", between("this machine", &self.region))
            }
            _ => String::new(),
        };
        let message = advised(&failure.message, &advice);
        Told {
            retry_after_seconds: failure.retry_after.map(|wait| wait.as_secs()),
            clock_skew_seconds: failure.skew,
            ..self.told(failure.status, failure.reason, message)
        }
    }

    /// `sent` was exchanged for this.
    pub(super) fn granted(self, grant: &Grant, sent: &RefreshToken) -> Told {
        let token = Token::of(grant, sent, &self.region);
        let message = "Squadcast answered with a valid access token".to_owned();
        Told {
            token: Some(token),
            clock_skew_seconds: Some(grant.skew),
            ..self.told(Some(200), Reason::TokenValid, message)
        }
    }
}

impl Token {
    fn of(grant: &Grant, sent: &RefreshToken, region: &str) -> Self {
        let at = |second: i64| Timestamp::from_second(second.saturating_sub(grant.skew)).ok();
        let (issued_at, expires_at) = (at(grant.issued()), at(grant.expires_at));
        let life = issued_at.zip(expires_at).map(|(issued, expires)| Life { issued, expires });
        let renewal = |life| schedule::renewal(life, RenewalPolicy::TwoThirds, sent.fingerprint(region)).at;
        Self {
            issued_at,
            expires_at,
            renew_at: life.map(renewal),
            seconds_left: expires_at.map(|expires| schedule::seconds_between(grant.received_at, expires)),
            refresh_token_rotated: grant.rotated.is_some(),
        }
    }

    fn lines(&self) -> Vec<String> {
        let time = |what, at: Option<Timestamp>| at.map(|at| line(what, &at.to_string()));
        let expires = self
            .expires_at
            .zip(self.seconds_left)
            .map(|(at, left)| line("expires", &format!("{at} (in {:#})", SignedDuration::from_secs(left))));
        let mut lines: Vec<String> = [time("issued", self.issued_at), expires, time("renews", self.renew_at)]
            .into_iter()
            .flatten()
            .collect();
        if self.refresh_token_rotated {
            lines.push(line(
                "rotation",
                "the answer holds another refresh token than the one sent, which is not shown or stored here: see spec.refreshTokenRotation",
            ));
        }
        lines
    }
}

impl Told {
    pub(super) fn is_success(&self) -> bool {
        self.token.is_some()
    }

    /// Adds what `--probe` found.
    pub(super) fn with_findings(self, grants: &[Grant]) -> Self {
        let pairs = || grants.iter().zip(grants.iter().skip(1));
        let findings = Findings {
            access_token_repeated: pairs().any(|(a, b)| a.access_token == b.access_token),
            life_restarted: pairs().all(|(a, b)| b.expires_at > a.expires_at),
            refresh_token_changed: grants.iter().any(|grant| grant.rotated.is_some()),
        };
        Self { probe: Some(findings), ..self }
    }

    /// What is known since [`Way::lines`].
    pub(super) fn lines(&self) -> Vec<String> {
        let tls = match self.tls {
            Tls::Off => "off: a refresh token travels unencrypted",
            Tls::Verified => "verified: the server's certificate is trusted here",
            Tls::NotReached => "not reached: no answer came",
        };
        let status = self.status.map_or("none".to_owned(), |status| format!("HTTP {status}"));
        let mut lines = vec![
            line("tls", tls),
            line("status", &status),
            line("reason", self.reason),
            line("message", &self.message),
        ];
        if let Some(seconds) = self.retry_after_seconds {
            lines.push(line("wait", &format!("Squadcast asks for {seconds} s")));
        }
        lines.extend(self.token.iter().flat_map(Token::lines));
        lines.extend(self.clock_skew_seconds.map(clock));
        lines
    }

    /// The findings of `--probe`.
    pub(super) fn findings(&self) -> Vec<String> {
        let Some(findings) = &self.probe else { return Vec::new() };
        let told = |what: &str, holds| format!("{what}: {}", if holds { "yes" } else { "no" });
        vec![
            String::new(),
            told("access token repeated", findings.access_token_repeated),
            told("life restarted by each exchange", findings.life_restarted),
            told("refresh token changed", findings.refresh_token_changed),
        ]
    }
}

fn clock(skew: i64) -> String {
    let seconds = skew.unsigned_abs();
    match skew.signum() {
        0 => line("clock", "no difference of more than 5 s to Squadcast's is seen"),
        1 => line("clock", &format!("Squadcast's is {seconds} s ahead of this machine's")),
        _ => line("clock", &format!("Squadcast's is {seconds} s behind this machine's")),
    }
}

fn line(what: &str, value: &str) -> String {
    format!("{what:<9} {value}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::squadcast::AccessToken;

    #[test]
    fn a_life_that_makes_no_sense_is_told_as_a_resource_has_it() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let sent = RefreshToken::parse(b"4d1f0c9be7a86235").unwrap();
        for (issued_at, begins) in [
            (now.as_second() - 60, now.as_second() - 60),
            (0, now.as_second()),
            (now.as_second() + 7200, now.as_second()),
            (now.as_millisecond(), now.as_second()),
        ] {
            let grant = Grant {
                access_token: AccessToken::parse("abc").unwrap(),
                token_type: "Bearer".into(),
                issued_at,
                expires_at: now.as_second() + 7200,
                skew: 0,
                rotated: None,
                requested_at: now,
                received_at: now,
            };
            let token = Token::of(&grant, &sent, "us");
            assert_eq!(token.issued_at.map(Timestamp::as_second), Some(begins), "{issued_at}");
            assert!(token.renew_at > Some(now) && token.renew_at < token.expires_at, "{issued_at}");
        }
    }
}
