//! The messages of answers that are no token: what came, what it usually is, what to do. Pure.
//!
//! They name no time and no count, so that the same failure has the same message each time, and not who asked: the
//! operator and `check` tell them alike.

use std::fmt::Write;

use super::{Flaw, Region};

/// What is known of an answer; all of it free of tokens already.
pub(super) struct Words<'a> {
    pub(super) status: u16,
    pub(super) region: &'a Region,
    pub(super) proxy: Option<&'a str>,
    pub(super) content_type: Option<String>,
    pub(super) error_message: Option<String>,
}

impl Words<'_> {
    pub(super) fn request_rejected(&self) -> String {
        format!(
            "{}. Squadcast rejects the request as invalid: usually the refresh token is incomplete, is not one of \
             Squadcast's, or belongs to another region than \"{}\". Check the refresh token and the region.",
            self.answered(),
            self.region.name
        )
    }

    pub(super) fn token_rejected(&self) -> String {
        format!(
            "{}. Squadcast does not accept the refresh token: usually it was revoked, its user was removed, or \
             it belongs to another region than \"{}\". Create a new refresh token in Squadcast's web \
             application, or correct the region.",
            self.answered(),
            self.region.name
        )
    }

    pub(super) fn payment_required(&self) -> String {
        format!(
            "{}. Squadcast asks for payment: usually the organization's plan has ended. Settle this in \
             Squadcast's web application.",
            self.answered()
        )
    }

    pub(super) fn rate_limited(&self) -> String {
        format!("{}. Squadcast asks to slow down in region \"{}\".", self.answered(), self.region.name)
    }

    pub(super) fn unavailable(&self) -> String {
        format!("{}. Squadcast has a fault of its own in region \"{}\".", self.answered(), self.region.name)
    }

    pub(super) fn flawed(&self, flaw: &Flaw) -> String {
        match flaw {
            Flaw::Stranger(flaw) => self.stranger(flaw),
            Flaw::Unusable(flaw) => self.unusable(flaw),
        }
    }

    /// An answer that does not look like Squadcast's.
    pub(super) fn stranger(&self, flaw: &str) -> String {
        format!(
            "{}{}: {flaw}. This is usually not Squadcast but a proxy, a firewall or a login page in its place. \
             Check the auth URL of region \"{}\" and what lies on the way to it.",
            self.answered(),
            self.circumstances(),
            self.region.name
        )
    }

    /// An answer that looks like Squadcast's but is of no use.
    fn unusable(&self, flaw: &str) -> String {
        format!(
            "{}{}: {flaw}. Check the clock of the node or machine that asked; where it is right, Squadcast has a \
             fault of its own.",
            self.answered(),
            self.circumstances()
        )
    }

    fn answered(&self) -> String {
        let mut text = format!("{} answered HTTP {}", self.region.host, self.status);
        if let Some(message) = self.error_message.as_deref().filter(|message| !message.is_empty()) {
            let _ = write!(text, ", \"{message}\"");
        }
        text
    }

    fn circumstances(&self) -> String {
        let mut text = match self.content_type.as_deref() {
            Some(kind) if !kind.is_empty() => format!(" ({kind})"),
            _ => " (no content type)".to_owned(),
        };
        if let Some(proxy) = self.proxy {
            let _ = write!(text, " through the proxy {proxy}");
        }
        text
    }
}
