//! What a decision is made of, and what it first asks about the token that the target holds.

use jiff::Timestamp;

use crate::{
    api::{ConditionType, Reason, SquadcastCredentialStatus},
    reconcile::{Claim, Credential, Input, Memory, Observation, ownership::claim},
    secret::{Desired, SecretFacts, Token},
    squadcast::{Fingerprint, Region, Regions},
};

/// All that the decision depends on.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    /// The resource, and what the watches have told of its surroundings.
    pub input: &'a Input,
    /// The status as the operator last meant it.
    pub history: &'a SquadcastCredentialStatus,
    /// The regions that the operator knows.
    pub regions: &'a Regions,
    /// What was seen.
    pub seen: &'a Observation,
    /// What the process remembers.
    pub memory: &'a Memory,
}

/// What the target holds for this resource.
#[derive(Clone, Debug)]
pub struct Held<'a> {
    /// What its annotations tell.
    pub token: &'a Token,
    /// It can be used: unexpired, of this region, unedited, and not known to be revoked.
    pub usable: bool,
    /// Its refresh token was found rejected.
    pub rejected: bool,
}

/// What the last attempt failed at, where the next one has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastFailure {
    /// Squadcast did not accept the refresh token or the request.
    Rejected,
    /// The API server did not do what a token needs: most often the write of one that was got.
    Cluster {
        /// The operator lacks a right.
        forbidden: bool,
    },
    /// Former targets could not be deleted; the new one held its token by then.
    Leftovers,
    /// Workloads could not be restarted; the target held its token by then.
    Restarts,
}

impl<'a> Case<'a> {
    /// The resource.
    pub fn credential(&self) -> &'a Credential {
        &self.input.credential
    }

    /// Its region, where it is known.
    pub fn region(&self) -> Option<&'a Region> {
        self.regions.get(&self.credential().spec.region)
    }

    /// The wish for the target.
    pub fn desired(&self) -> Desired<'a> {
        let credential = self.credential();
        Desired {
            credential: credential.key.name(),
            credential_uid: &credential.uid,
            target: &credential.spec.target,
        }
    }

    /// The token that the target holds for this resource, if any.
    pub fn held(&self, now: Timestamp) -> Option<Held<'_>> {
        let facts = self.seen.target.facts()?;
        let claim = claim(self.credential(), &self.seen.target);
        held(self.credential(), self.history, facts, &claim, self.seen.target.edited(), now)
    }

    /// An exchange is asked for by a new value of the annotation.
    pub fn requested(&self) -> bool {
        let request = self.credential().renew_request.as_deref();
        request.is_some() && request != self.history.last_handled_renew_request.as_deref()
    }

    /// An attempt has failed for the refresh token that is there now, and is to be tried again.
    pub(super) fn failing(&self, fingerprint: Fingerprint) -> Option<Timestamp> {
        let next = self.history.next_attempt_at?;
        let same = self.history.last_attempt_fingerprint.as_deref() == Some(fingerprint.to_string().as_str());
        let of_token = !matches!(self.last_failure(), Some(LastFailure::Leftovers | LastFailure::Restarts));
        (self.history.failure_count() > 0 && same && of_token).then_some(next)
    }

    /// What the last attempt failed at, by what `Synced` says of it.
    pub fn last_failure(&self) -> Option<LastFailure> {
        let reason = self.history.reason(ConditionType::Synced)?;
        let held_by_then = || self.history.expires_at.is_some() && self.renamed();
        match reason {
            Reason::WriteFailed | Reason::Forbidden if held_by_then() => Some(LastFailure::Leftovers),
            Reason::WriteFailed => Some(LastFailure::Cluster { forbidden: false }),
            Reason::Forbidden => Some(LastFailure::Cluster { forbidden: true }),
            Reason::RolloutRestartFailed => Some(LastFailure::Restarts),
            reason => reason.is_rejection().then_some(LastFailure::Rejected),
        }
    }

    /// The target is not the one of which the status speaks: former ones are to go.
    pub fn renamed(&self) -> bool {
        self.history.target_name.as_deref() != Some(self.credential().spec.target.name.as_str())
    }

    /// A token was written under this name before: one that is not there was deleted.
    pub fn issued_here(&self) -> bool {
        self.history.last_renewed_at.is_some() && !self.renamed()
    }

    /// The last failure is yet to come: the clock was set back, and the wait that followed means nothing.
    pub fn clock_was_set_back(&self, now: Timestamp) -> bool {
        self.history.last_failure_at.is_some_and(|at| now < at)
    }

    /// The spec is not the one that the status speaks of.
    pub fn spec_changed(&self) -> bool {
        self.history.observed_generation != Some(self.credential().generation)
    }
}

/// See [`Case::held`]; `claim` and `edited` tell whose the Secret is and whether its data is as written.
pub fn held<'a>(
    credential: &Credential,
    history: &SquadcastCredentialStatus,
    facts: &'a SecretFacts,
    claim: &Claim,
    edited: bool,
    now: Timestamp,
) -> Option<Held<'a>> {
    let own = match claim {
        Claim::Write { held } => *held,
        // What may not be written any more still holds the token that was written while it could be.
        Claim::Refused(Reason::TargetImmutable | Reason::MergeNotAllowed, _) | Claim::Wait(_) => {
            let name = Some(credential.key.name());
            // A former resource's Secret is about to go, and its token with it.
            match &facts.controller {
                Some(controller) => controller.uid == credential.uid,
                None => {
                    facts.credential.as_deref() == name
                        || facts.written_by_us() && facts.allow_write_by.as_deref() == name
                }
            }
        }
        _ => false,
    };
    let token = facts.token.as_ref().filter(|_| own)?;
    let rejected = history.expires_at == Some(token.life.expires) && was_rejected(history);
    let usable = now < token.life.expires && token.region() == credential.spec.region && !edited && !rejected;
    Some(Held { token, usable, rejected })
}

/// The refresh token of the token that the status speaks of was found rejected: `Ready` says so, or, while the
/// resource is suspended, `Stalled`.
fn was_rejected(history: &SquadcastCredentialStatus) -> bool {
    let says = match history.reason(ConditionType::Ready) {
        Some(Reason::Suspended) => ConditionType::Stalled,
        _ => ConditionType::Ready,
    };
    history.reason(says) == Some(Reason::RefreshTokenRejected)
}
