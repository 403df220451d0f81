//! Scripts that showed something once. `make simulate` prints such a test for what it finds; `super` shows how to
//! read it.

#[allow(unused_imports, reason = "what a script may name")]
use super::{
    plays_well,
    script::{Api::*, Mood::*, Refusal::*, Step::*},
};

/// A status that could not be written for all the changes that others make to the resource.
#[test]
fn failures_that_could_not_be_told_are_counted() {
    plays_well(false, &[(Storm(7), 0), (MoveTarget(0, 0), 10)]);
}

#[test]
fn a_target_that_is_edited_just_before_the_machine_sleeps() {
    plays_well(false, &[(Edit(0), 0), (Sleep(45), 0)]);
}

#[test]
fn a_clock_that_is_set_back_to_the_second_of_the_last_issue() {
    plays_well(false, &[(Edit(0), 0), (SetClock(-4232), 0)]);
}

/// What was to be tried at an instant of the clock before comes at once, not when the clock gets there again.
#[test]
fn a_back_off_ends_when_the_clock_is_set_back() {
    plays_well(
        false,
        &[(Squadcast(Unavailable), 0), (Replace(0), 100), (SetClock(-50_000), 0), (Squadcast(Fine), 8000)],
    );
}

/// When the last token came is known better from after the clock was set than from before.
#[test]
fn exchanges_stay_apart_when_the_clock_is_set_back() {
    plays_well(false, &[(SetClock(-42), 0), (Replace(0), 0)]);
}

/// What a list does not show is gone, although a reconcile that runs meanwhile has read it.
#[test]
fn a_target_that_goes_unseen_while_it_is_looked_at() {
    plays_well(
        false,
        &[(Relist, 0), (Api(Refusing), 0), (DeleteSource(0), 0), (DeleteTarget(0), 0), (Lead(false), 0)],
    );
}

/// What a process did not get to write back before it lost its lease, it writes when it leads again.
#[test]
fn a_replaced_refresh_token_outlives_a_lost_lease() {
    plays_well(
        true,
        &[
            (Squadcast(Rotating), 10),
            (Refuse(Webhook), 0),
            (AskForRenewal(0), 30),
            (Lead(false), 15),
            (Lead(true), 5),
            (Refuse(Nothing), 20_000),
        ],
    );
}

/// Until the watches tell that a resource is another and its Secret gone, nothing is tried in a loop.
#[test]
fn a_resource_that_is_made_again_while_the_watches_lag() {
    plays_well(
        false,
        &[
            (Squadcast(Rotating), 0),
            (Fight(2, 1), 0),
            (Squadcast(Unavailable), 1),
            (Lag(89, 89), 0),
            (Recreate(2), 9),
        ],
    );
}

/// Exchanges fail, then one succeeds, and a former target cannot be deleted: that is the first failure of its own, though
/// no status has told of the success alone.
#[test]
fn a_former_target_that_stays_is_counted_anew_after_a_token_came() {
    plays_well(
        false,
        &[
            (Squadcast(Unavailable), 0),
            (MoveTarget(0, 0), 0),
            (Squadcast(Unavailable), 13),
            (Squadcast(Fine), 0),
            (Storm(2), 16),
        ],
    );
}

/// Who has waited for a write-back asks with what it reads then, whatever the watches have told by now.
#[test]
fn a_refresh_token_that_was_replaced_while_others_waited_is_not_sent() {
    plays_well(
        true,
        &[
            (Edit(0), 0),
            (Squadcast(Rotating), 292_817),
            (Fight(0, 16), 0),
            (Die(5, false), 7383),
            (Squadcast(Confused), 81360),
            (Storm(11), 4),
            (Squadcast(Rotating), 91039),
            (AskForRenewal(1), 4388),
            (Squadcast(Fine), 30),
            (Api(Hanging), 0),
            (AskForRenewal(0), 0),
            (Recreate(0), 8),
            (Squadcast(Unavailable), 0),
            (Elect, 1),
            (Replace(0), 5),
            (Replace(0), 0),
            (LoseAnswers(5), 16099),
            (AskForRenewal(2), 62065),
            (DeleteSource(1), 3),
            (Squadcast(Fine), 414),
            (Relabel(1), 11425),
            (Squadcast(Limiting(Some(22_001))), 0),
            (DeleteTarget(1), 14480),
            (ChangeTemplate(2, 0), 5),
            (Replace(1), 8843),
            (Api(Hanging), 3),
            (Api(Up), 7),
            (Squadcast(Rotating), 2),
            (Lag(46, 70), 18566),
        ],
    );
}
