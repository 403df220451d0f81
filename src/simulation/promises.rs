//! What a status may say, whatever has happened: judged at each write, against the one before.

use jiff::Timestamp;
use serde::Deserialize;

use super::cluster::Told;
use crate::{
    api::{Condition, ConditionType, Reason, SquadcastCredentialStatus},
    schedule::seconds_between,
};

/// The longest pause that anything leads to, in seconds: `Retry-After` and rejections are bounded by an hour.
pub(super) const LONGEST: i64 = 3600;

/// The promise that a status breaks, if any.
pub(super) fn of_status(told: &Told) -> Result<(), String> {
    let before = SquadcastCredentialStatus::deserialize(&told.before).unwrap();
    let after = SquadcastCredentialStatus::deserialize(&told.after).unwrap();
    let checks = [
        nothing_new(&before, &after),
        agrees(&after),
        renews_in_time(&after),
        backs_off(&before, &after, told.missed),
    ];
    match checks.into_iter().find_map(Result::err) {
        Some(broken) => Err(format!("{}: {broken}", told.name)),
        None => Ok(()),
    }
}

fn nothing_new(before: &SquadcastCredentialStatus, after: &SquadcastCredentialStatus) -> Result<(), String> {
    if before == after { Err("a status was written that says nothing new".to_owned()) } else { Ok(()) }
}

/// Conditions, failures and times tell the same story.
fn agrees(status: &SquadcastCredentialStatus) -> Result<(), String> {
    let synced = status.condition(ConditionType::Synced);
    let is_synced = synced.is_some_and(Condition::is_true);
    let fail = |what: &str| Err(what.to_owned());
    if is_synced && (status.failures.is_some() || status.next_attempt_at.is_some()) {
        return fail("Synced, with failures or a next attempt");
    }
    if let Some(stalled) = status.condition(ConditionType::Stalled) {
        if is_synced {
            return fail("Synced and Stalled");
        }
        let someone_must_act = stalled.reason().is_some_and(|reason| {
            reason.is_rejection()
                || matches!(
                    reason,
                    Reason::TargetNotOwned
                        | Reason::TargetClaimed
                        | Reason::TargetImmutable
                        | Reason::WriteFailed
                )
        });
        if !stalled.is_true() || !someone_must_act {
            return fail("Stalled without anything that someone must do");
        }
    }
    let ready = status.condition(ConditionType::Ready);
    match ready {
        Some(ready) if ready.is_true() && status.expires_at.is_none() => fail("Ready, without a token"),
        Some(ready) if ready.is_true() && ready.reason() != Some(Reason::TokenValid) => {
            fail("Ready, for another reason")
        }
        _ => Ok(()),
    }
}

/// The renewal lies between 60 % (two thirds less a tenth) and two thirds of the life, or at half of the rest.
fn renews_in_time(status: &SquadcastCredentialStatus) -> Result<(), String> {
    let (Some(issued), Some(expires), Some(renew)) = (status.issued_at, status.expires_at, status.renew_at)
    else {
        return if status.renew_at.is_some() {
            Err("renews a token that is not there".to_owned())
        } else {
            Ok(())
        };
    };
    let life = seconds_between(issued, expires);
    let after = seconds_between(issued, renew);
    let by_life = life * 6 / 10 - 2..=life * 2 / 3 + 1;
    let half = status.last_renewed_at.map(|renewed| {
        let left = seconds_between(renewed, expires);
        (seconds_between(renewed, renew) - left / 2).abs() <= 2
    });
    if by_life.contains(&after) || half == Some(true) {
        Ok(())
    } else {
        Err(format!("renews {after} s after the issue of a token that is good for {life} s"))
    }
}

/// Failures are counted one by one, those that could not be told included, and the pause after each is the one that the contract names.
fn backs_off(
    before: &SquadcastCredentialStatus,
    after: &SquadcastCredentialStatus,
    missed: bool,
) -> Result<(), String> {
    let (Some(count), Some(failed), Some(next)) =
        (after.failures, after.last_failure_at, after.next_attempt_at)
    else {
        return if after.failures.is_some() {
            Err("failures without a next attempt".to_owned())
        } else {
            Ok(())
        };
    };
    let reason = after.reason(ConditionType::Synced);
    let same = before.last_attempt_fingerprint == after.last_attempt_fingerprint;
    let earlier = if same { before.failures.unwrap_or_default() } else { 0 };
    // What fails for another target than before is another failure, and so is what fails after a token was issued: a
    // former target that could not be deleted.
    let another = before.observed_generation != after.observed_generation
        || before.last_renewed_at != after.last_renewed_at;
    let anew = (count == 1 || missed) && another;
    if !anew && (count < earlier || count > earlier + 1 && !missed) {
        return Err(format!("failures went from {earlier} to {count}"));
    }
    if count == earlier || before.last_failure_at == after.last_failure_at && earlier > 0 {
        return Ok(());
    }
    let wait = seconds_between(failed, next);
    let fits = match reason {
        Some(Reason::RateLimited) => (1..=LONGEST).contains(&wait),
        Some(reason) if reason.is_rejection() => wait == 60 || (300..=LONGEST).contains(&wait),
        Some(
            Reason::ServiceUnavailable
            | Reason::Timeout
            | Reason::ConnectionFailed
            | Reason::InvalidResponse
            | Reason::WriteFailed
            | Reason::Forbidden,
        ) => {
            // A token that is there and of no use has no life left.
            let usable = is_true(after, ConditionType::Ready);
            let left = after.expires_at.filter(|_| usable).map(|at| seconds_between(failed, at));
            is_back_off(wait, count - 1, left)
        }
        _ => true,
    };
    if fits { Ok(()) } else { Err(format!("waits {wait} s after failure {count} with {reason:?}")) }
}

/// 5 s · 2ⁿ, at most 5 min, or 30 s near expiry, and up to 20 % more or less; a second for rounding.
fn is_back_off(wait: i64, failures: i32, left: Option<i64>) -> bool {
    let doubled = 5i64 << failures.clamp(0, 30);
    let fits = |cap: i64| {
        let base = doubled.min(cap);
        (base * 8 / 10 - 1..=base * 12 / 10 + 1).contains(&wait)
    };
    match left {
        Some(left) if left < 890 => fits(30),
        Some(left) if left > 910 => fits(300),
        // About 15 min, or none that is of use.
        _ => fits(30) || fits(300),
    }
}

/// A condition in a status as the cluster holds it.
pub(super) fn is_true(status: &SquadcastCredentialStatus, type_: ConditionType) -> bool {
    status.condition(type_).is_some_and(Condition::is_true)
}

/// Seconds from a wall clock to an instant; 0 where there is none.
pub(super) fn until(at: Option<Timestamp>, wall: i64) -> i64 {
    at.map_or(0, |at| at.as_second() - wall)
}
