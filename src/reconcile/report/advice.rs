//! What somebody who sees only the resource can do about Squadcast's answer: where the refresh token comes from, and
//! where a new one belongs. Pure.

use super::{Case, Trouble};
use crate::{
    api::Reason,
    squadcast::{advised, between},
};

/// The message of a failed attempt.
pub(super) fn told(case: &Case<'_>, trouble: &Trouble) -> String {
    let spec = &case.credential().spec;
    let source = &spec.refresh_token_secret_ref;
    let (name, key) = (&source.name, &source.key);
    let advice = match trouble.reason {
        Reason::RequestRejected | Reason::RefreshTokenRejected => {
            format!("It was read from Secret \"{name}\": store the one to use under \"{key}\" there.")
        }
        Reason::PaymentRequired => format!(
            "Or use another organization's refresh token: store it in Secret \"{name}\" under \"{key}\"."
        ),
        Reason::RateLimited | Reason::ServiceUnavailable => "Wait: it is tried again by itself.".to_owned(),
        Reason::Timeout | Reason::ConnectionFailed => {
            format!("It is tried again by itself; if it stays, {}", between("the operator", &spec.region))
        }
        _ => return trouble.message.clone(),
    };
    advised(&trouble.message, &advice)
}
