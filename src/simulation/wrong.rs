//! Deliberately wrong operators. The simulation has to find out each of them, or it would prove nothing. What is
//! wrong is done at the edges, so that the product knows nothing of it.

use serde_json::{Value, json};

use super::objects::merge;
use crate::{
    api::names,
    squadcast::{Failure, Grant},
};

/// What is wrong with the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It forgets failures when it restarts or lists: back-off begins anew.
    ForgetsFailures,
    /// It hears 429, but not for how long.
    IgnoresRetryAfter,
    /// It renews a few seconds before the token expires.
    RenewsAtTheLastMoment,
    /// It keeps the refresh token that was replaced.
    LosesRotations,
    /// It takes its own clock for Squadcast's.
    TrustsItsClock,
    /// Its clock stands still while the machine sleeps.
    SleepsOn,
    /// Its watch on Secrets does not tell of deletions.
    MissesDeletions,
    /// There are two of them at once.
    LeadsTwice,
}

impl Wrong {
    pub(super) const ALL: [Self; 8] = [
        Self::ForgetsFailures,
        Self::IgnoresRetryAfter,
        Self::RenewsAtTheLastMoment,
        Self::LosesRotations,
        Self::TrustsItsClock,
        Self::SleepsOn,
        Self::MissesDeletions,
        Self::LeadsTwice,
    ];

    /// What a wrong operator takes an object of a watch for.
    pub(super) fn sees(self, object: &mut Value, listed: bool) {
        if object["kind"] != names::KIND {
            return;
        }
        match self {
            Self::ForgetsFailures if listed => {
                let nothing =
                    json!({ "failures": null, "nextAttemptAt": null, "lastAttemptFingerprint": null });
                merge(object, &json!({ "status": nothing }));
            }
            Self::RenewsAtTheLastMoment => merge(object, &json!({ "spec": { "renewBefore": "5s" } })),
            _ => {}
        }
    }

    /// The answer as a wrong operator hears it.
    pub(super) fn answer(self, answer: Result<Grant, Failure>) -> Result<Grant, Failure> {
        match self {
            Self::IgnoresRetryAfter => answer.map_err(|failure| Failure { retry_after: None, ..failure }),
            Self::LosesRotations => answer.map(|grant| Grant { rotated: None, ..grant }),
            Self::TrustsItsClock => answer.map(|grant| Grant { skew: 0, ..grant }),
            _ => answer,
        }
    }
}
