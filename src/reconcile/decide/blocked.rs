//! What stands in the way of an exchange and that only people can remove, with the words that tell them how.

use super::Case;
use crate::{
    api::Reason,
    reconcile::observe::{FoundToken, Source},
    secret::render,
    squadcast::Region,
};

/// What stands in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Of the catalogue.
    pub reason: Reason,
    /// For people: what is wrong and what to do.
    pub message: String,
    /// Someone must act.
    pub stalled: bool,
}

fn stalled(reason: Reason, message: String) -> Blocked {
    Blocked { reason, message, stalled: true }
}

fn waiting(reason: Reason, message: String) -> Blocked {
    Blocked { reason, message, stalled: false }
}

pub(super) fn known_region<'a>(case: &'a Case<'_>) -> Result<&'a Region, Blocked> {
    case.region().ok_or_else(|| {
        let region = &case.credential().spec.region;
        let known: Vec<_> = case.regions.names().collect();
        stalled(
            Reason::UnknownRegion,
            format!(
                "region \"{region}\" is not known to this operator, which knows {}: correct spec.region, or start the operator with --region {region}=<auth URL>",
                known.join(", "),
            ),
        )
    })
}

pub(super) fn usable_source<'a>(case: &'a Case<'_>) -> Result<&'a FoundToken, Blocked> {
    let reference = &case.credential().spec.refresh_token_secret_ref;
    let (name, key) = (&reference.name, &reference.key);
    match &case.seen.source {
        Source::Found(found) => Ok(found),
        Source::Missing | Source::Unread => Err(waiting(
            Reason::RefreshTokenSecretNotFound,
            format!(
                "Secret \"{name}\" does not exist: create it with the refresh token from Squadcast's web application under the key \"{key}\", or correct spec.refreshTokenSecretRef.name"
            ),
        )),
        Source::NotAllowed(_) => Err(waiting(
            Reason::RefreshTokenNotAllowed,
            format!(
                "Secret \"{name}\" does not exist or may not be read as a refresh token: give it the label credentials.squadcast.com/refresh-token: \"true\", without which this operator reads none"
            ),
        )),
        Source::KeyMissing(keys, _) => Err(waiting(
            Reason::RefreshTokenKeyNotFound,
            format!(
                "Secret \"{name}\" has no key \"{key}\" ({}): add it with the refresh token from Squadcast's web application, or correct spec.refreshTokenSecretRef.key",
                if keys.is_empty() {
                    "it is empty".to_owned()
                } else {
                    let shown: Vec<_> = keys.iter().take(5).map(String::as_str).collect();
                    format!("it has {}{}", shown.join(", "), if keys.len() > 5 { ", …" } else { "" })
                }
            ),
        )),
        Source::Invalid(error, _) => Err(waiting(
            Reason::RefreshTokenInvalid,
            format!(
                "the value under \"{key}\" in Secret \"{name}\" {error}: store the refresh token as Squadcast's web application shows it"
            ),
        )),
    }
}

/// Nothing but the target itself stands in the way.
pub(super) fn passable(case: &Case<'_>, region: &Region, found: &FoundToken) -> Result<(), Blocked> {
    unclaimed(case).and_then(|()| writable_source(case, found)).and_then(|()| template(case, region))
}

fn unclaimed(case: &Case<'_>) -> Result<(), Blocked> {
    match &case.input.rival {
        None => Ok(()),
        Some(rival) => Err(stalled(
            Reason::TargetClaimed,
            format!(
                "Secret \"{}\" is already kept by SquadcastCredential \"{rival}\": choose another spec.target.name, or delete one of the two",
                case.credential().spec.target.name
            ),
        )),
    }
}

/// Whoever held the target before is gone or going, or writes elsewhere.
pub(super) fn inherits(case: &Case<'_>) -> Blocked {
    waiting(
        Reason::TargetClaimed,
        format!(
            "Secret \"{}\" still belongs to a SquadcastCredential that was deleted or writes elsewhere now: it is about to be removed, then the operator creates it anew; if it stays, look at its finalizers and at that resource",
            case.credential().spec.target.name
        ),
    )
}

fn writable_source(case: &Case<'_>, found: &FoundToken) -> Result<(), Blocked> {
    if case.input.writes_back && found.immutable {
        return Err(stalled(
            Reason::WriteFailed,
            format!(
                "Secret \"{}\" is immutable, so a new refresh token could not be written back: replace it by one that is not immutable, or set spec.refreshTokenRotation to Ignore in every resource that reads it",
                case.credential().spec.refresh_token_secret_ref.name
            ),
        ));
    }
    Ok(())
}

fn template(case: &Case<'_>, region: &Region) -> Result<(), Blocked> {
    render::check_in(case.credential().spec.target.template.as_ref(), &region.name, &region.api_url)
        .map_err(|e| render_problem(&e, &case.credential().spec.target.name))
}

/// A template's mistake, as a resource tells it.
pub fn render_problem(error: &render::RenderError, target: &str) -> Blocked {
    match error {
        render::RenderError::Invalid { .. } => {
            stalled(Reason::TemplateInvalid, format!("spec.target.template: {error}; correct the template"))
        }
        render::RenderError::TooLarge { .. } => stalled(
            Reason::TargetTooLarge,
            format!("Secret \"{target}\" would be too large: {error}; shorten spec.target.template"),
        ),
    }
}
