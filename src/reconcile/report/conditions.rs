//! The conditions: what a person sees first.

use jiff::Timestamp;

use super::{Case, Verdict};
use crate::api::{self, Condition, ConditionType, Reason};

/// How it stands with the token that the target holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    /// It can be used.
    pub(super) usable: bool,
    /// Its refresh token was found rejected.
    pub(super) rejected: bool,
}

/// Sets all conditions. Messages of true ones hold no times, so that a routine renewal changes none.
pub(super) fn set(
    list: &mut Vec<Condition>,
    case: &Case<'_>,
    verdict: &Verdict,
    standing: Standing,
    generation: i64,
    now: Timestamp,
) {
    let name = &case.credential().spec.target.name;
    let suspended = matches!(verdict, Verdict::Not { reason: Reason::Suspended, .. });
    match verdict {
        Verdict::Unchanged => {}
        Verdict::Synced => {
            let message = format!("Secret \"{name}\" is as this resource asks for");
            api::set(list, ConditionType::Synced, true, Reason::Synced, message, generation, now);
            list.retain(|c| c.type_ != ConditionType::Stalled.as_str());
        }
        Verdict::Not { reason, message, stalled } => {
            // Whoever suspends it does not make the refresh token good.
            let stalled = match stalled {
                None if suspended && standing.rejected => Some(revoked(list, case)),
                stalled => stalled.clone(),
            };
            api::set(list, ConditionType::Synced, false, *reason, message.clone(), generation, now);
            match stalled {
                Some((reason, message)) => {
                    api::set(list, ConditionType::Stalled, true, reason, message, generation, now);
                }
                None => list.retain(|c| c.type_ != ConditionType::Stalled.as_str()),
            }
        }
    }
    let (reason, message) = if standing.usable {
        (Reason::TokenValid, format!("Secret \"{name}\" holds a valid token"))
    } else {
        why_not_ready(list, case, standing.rejected && !suspended)
    };
    api::set(list, ConditionType::Ready, standing.usable, reason, message, generation, now);
    list.sort_by_key(|c| match &*c.type_ {
        "Ready" => 0,
        "Synced" => 1,
        _ => 2,
    });
}

fn why_not_ready(list: &[Condition], case: &Case<'_>, rejected: bool) -> (Reason, String) {
    let name = &case.credential().spec.target.name;
    let synced = api::find(list, ConditionType::Synced).filter(|c| !c.is_true());
    if rejected {
        // Stays until a new token is there, whatever else goes wrong meanwhile.
        return revoked(list, case);
    }
    if let Some((reason, message)) = synced.and_then(|c| Some((c.reason()?, c.message.clone()))) {
        return (reason, message);
    }
    let message = match case.seen.target.facts() {
        None => format!("Secret \"{name}\" does not exist: the operator is about to write it"),
        Some(_) if case.seen.target.edited() => {
            format!(
                "the data of Secret \"{name}\" was changed by somebody else: the operator is about to write it again"
            )
        }
        Some(_) => format!("Secret \"{name}\" holds no valid token: the operator is about to renew it"),
    };
    (Reason::TokenExpired, message)
}

/// The refresh token was found rejected: what was said of that then, while it can still be read somewhere.
fn revoked(list: &[Condition], case: &Case<'_>) -> (Reason, String) {
    let spec = &case.credential().spec;
    let (source, target) = (&spec.refresh_token_secret_ref.name, &spec.target.name);
    let said = [ConditionType::Synced, ConditionType::Stalled, ConditionType::Ready]
        .into_iter()
        .filter_map(|type_| api::find(list, type_))
        .find(|c| c.reason() == Some(Reason::RefreshTokenRejected));
    let message = said.map_or_else(
        || format!("Squadcast rejected the refresh token from which the token in Secret \"{target}\" was minted, and has revoked both: create a new refresh token in Squadcast's web application and store it in Secret \"{source}\""),
        |c| c.message.clone(),
    );
    (Reason::RefreshTokenRejected, message)
}
