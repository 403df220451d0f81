//! The events, in words.

use std::fmt::Write as _;

use super::{Case, Issued};
use crate::{
    api::{RefreshTokenRotation, SquadcastCredentialStatus},
    ops::events::{Event, EventType},
    reconcile::memory::local,
};

/// A token was written.
pub(super) fn issued(case: &Case<'_>, issued: &Issued, status: &SquadcastCredentialStatus) -> Event {
    let first = case.history.last_renewed_at.is_none();
    let which = if first { "the first" } else { "a new" };
    let mut text = format!("wrote {which} token into Secret \"{}\"", case.credential().spec.target.name);
    for (what, at) in
        [("expires", local(&issued.grant, issued.grant.expires_at)), ("will be renewed", status.renew_at)]
    {
        if let Some(at) = at {
            // Writing to a String cannot fail.
            let _ = write!(text, ", {what} {at}");
        }
    }
    Event { type_: EventType::Normal, reason: if first { "TokenIssued" } else { "TokenRenewed" }, note: text }
}

/// Squadcast's answer held another refresh token.
pub(super) fn rotated(case: &Case<'_>) -> Event {
    let spec = &case.credential().spec;
    let source = &spec.refresh_token_secret_ref.name;
    let text = match spec.refresh_token_rotation {
        RefreshTokenRotation::Ignore => format!(
            "Squadcast answered with another refresh token than the one in Secret \"{source}\", which stays as it is: if it is rejected later, store a new one, or set spec.refreshTokenRotation to WriteBack"
        ),
        RefreshTokenRotation::WriteBack => {
            format!(
                "Squadcast answered with another refresh token, which was written into Secret \"{source}\""
            )
        }
    };
    Event { type_: EventType::Warning, reason: "RefreshTokenRotated", note: text }
}

/// The wish for a renewal cannot be met.
pub(super) fn renew_before_too_long() -> Event {
    Event {
        type_: EventType::Warning,
        reason: "RenewBeforeTooLong",
        note: "spec.renewBefore is not shorter than the life of the token, which is renewed after two thirds of its life instead: shorten spec.renewBefore".to_owned(),
    }
}

/// Workloads were restarted.
pub(super) fn restarted(case: &Case<'_>, names: &[String]) -> Event {
    let target = &case.credential().spec.target.name;
    let text = format!("restarted {} after a change of Secret \"{target}\"", names.join(", "));
    Event { type_: EventType::Normal, reason: "RolloutRestarted", note: text }
}
