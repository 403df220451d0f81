//! Single steps, each in a few lines. What follows from them together is in `simulation`.

mod simulation;

use super::*;

/// A clock that is set by hand, and a process.
struct Process {
    election: Election,
    now: Moment,
}

const SECOND: Duration = Duration::from_secs(1);

impl Process {
    fn new() -> Self {
        let now = Moment::now();
        Self { election: Election::new("us".to_owned(), now.steady), now }
    }

    /// One that has just created the lease as version 1.
    fn leading() -> Self {
        let mut process = Self::new();
        process.does(Action::Look, Answer::Absent);
        process.does(Action::Create, held_by("us", "1"));
        assert!(process.leads());
        process
    }

    /// One that has seen version 1 of another's lease.
    fn standing_by() -> Self {
        let mut process = Self::new();
        process.does(Action::Look, held_by("other", "1"));
        process.waits();
        process
    }

    fn passes(&mut self, time: Duration) -> &mut Self {
        self.now = Moment { steady: self.now.steady + time, wall: self.now.wall + time };
        self
    }

    /// Lets time pass until something is due, then expects it and tells its outcome.
    fn does(&mut self, action: Action, answer: Answer) -> &mut Self {
        let wait = self.election.due.saturating_duration_since(self.now.steady);
        self.passes(wait);
        assert_eq!(self.election.decide(self.now.steady), action);
        self.election.learn(action, answer, self.now, self.now);
        self
    }

    fn waits(&mut self) -> &mut Self {
        assert_eq!(self.election.decide(self.now.steady), Action::Wait);
        self.election.rest(self.now.steady);
        self
    }

    fn leads(&self) -> bool {
        self.election.leads_from(self.now).is_some()
    }
}

fn held_by(holder: &str, version: &str) -> Answer {
    record(Some(holder), version, DURATION)
}

fn record(holder: Option<&str>, version: &str, duration: Duration) -> Answer {
    Answer::Record(Record {
        holder: holder.map(str::to_owned),
        resource_version: version.to_owned(),
        duration,
        transitions: 0,
    })
}

#[test]
fn the_first_of_all_leads_at_once() {
    let mut process = Process::leading();
    process.does(Action::Renew, held_by("us", "2")).does(Action::Renew, held_by("us", "3"));
    assert!(process.leads());
}

#[test]
fn the_second_to_create_stands_by() {
    let mut process = Process::new();
    process.does(Action::Look, Answer::Absent).does(Action::Create, Answer::Conflict);
    assert!(!process.leads());
    process.does(Action::Look, held_by("other", "1")).waits();
    assert!(!process.leads());
}

#[test]
fn another_is_left_alone_while_its_record_changes() {
    let mut process = Process::standing_by();
    for version in 2..100 {
        process.does(Action::Look, held_by("other", &version.to_string())).waits();
    }
}

#[test]
fn a_record_that_does_not_change_is_taken_over_not_earlier_and_not_much_later() {
    let mut process = Process::standing_by();
    let begun = process.now.steady;
    while process.now.steady + LOOK < begun + DURATION {
        process.does(Action::Look, held_by("other", "1")).waits();
    }
    process.does(Action::Look, held_by("other", "1")).does(Action::Take, held_by("us", "2"));
    assert!(process.leads());
    let took = process.now.steady - begun;
    assert!(took >= DURATION && took <= DURATION + LOOK, "{took:?}");
}

#[test]
fn what_a_record_says_of_its_duration_is_waited_for_within_reason() {
    for (claimed, waited) in [(SECOND, DURATION), (SECOND * 40, SECOND * 40), (SECOND * 86_400, LONGEST)] {
        let mut process = Process::new();
        let theirs = || record(Some("other"), "1", claimed);
        process.does(Action::Look, theirs()).waits();
        process.passes(waited.saturating_sub(SECOND)).does(Action::Look, theirs()).waits();
        process.passes(SECOND).does(Action::Look, theirs()).does(Action::Take, held_by("us", "2"));
    }
}

#[test]
fn a_released_lease_is_taken_at_the_next_look() {
    let mut process = Process::standing_by();
    process.does(Action::Look, record(None, "2", DURATION)).does(Action::Take, held_by("us", "3"));
    assert!(process.leads());
}

#[test]
fn one_that_is_cut_off_stops_by_itself() {
    let mut process = Process::leading();
    let begun = process.now.steady;
    while process.leads() {
        assert!(process.election.wakes_at(process.now) <= begun + VALIDITY);
        assert!(process.now.steady + process.election.patience(process.now) <= begun + VALIDITY);
        process.does(Action::Renew, Answer::Failed);
    }
    process.now = Moment { steady: begun + VALIDITY, ..process.now };
    assert!(!process.leads());
}

#[test]
fn one_failed_renewal_ends_nothing() {
    let mut process = Process::leading();
    process.does(Action::Renew, Answer::Failed);
    assert!(process.leads());
    process.does(Action::Renew, held_by("us", "2"));
    assert!(process.leads());
}

#[test]
fn validity_counts_from_sending_not_from_hearing() {
    let mut process = Process::leading();
    process.passes(RENEW);
    let (sent, heard) = (process.now, process.passes(SECOND * 3).now);
    process.election.learn(Action::Renew, held_by("us", "2"), sent, heard);
    process.now = sent;
    assert!(process.passes(VALIDITY.saturating_sub(SECOND)).leads());
    assert!(!process.passes(SECOND).leads());
}

#[test]
fn a_write_that_was_made_but_not_confirmed_is_found_again() {
    let mut process = Process::leading();
    process.does(Action::Renew, Answer::Failed).does(Action::Renew, Answer::Conflict);
    assert!(process.leads());
    process.does(Action::Look, held_by("us", "2")).does(Action::Renew, held_by("us", "3"));
    assert!(process.leads());
}

#[test]
fn after_healing_a_lease_that_another_took_meanwhile_is_not_stolen() {
    let mut process = Process::leading();
    process.does(Action::Renew, Answer::Failed).passes(SECOND * 60);
    process.does(Action::Renew, Answer::Conflict);
    assert!(!process.leads());
    process.does(Action::Look, held_by("other", "9")).waits();
    assert!(!process.leads());

    let mut process = Process::standing_by();
    process.does(Action::Look, Answer::Failed).passes(SECOND * 60);
    process.does(Action::Look, held_by("other", "30")).waits();
}

#[test]
fn a_leader_that_sees_another_in_its_place_stops_at_once() {
    let mut process = Process::leading();
    process.does(Action::Renew, Answer::Conflict).does(Action::Look, held_by("other", "2"));
    assert!(!process.leads());
}

#[test]
fn a_clock_that_is_set_or_stood_still_ends_what_is_not_certain() {
    for (steady, wall, leads) in [
        (SECOND, 1, true),
        (SECOND, 3600, false),
        (SECOND, -3600, false),
        (SECOND, -2, true),
        (SECOND * 60, 0, false),
    ] {
        let mut process = Process::leading();
        let wall = process.now.wall + jiff::SignedDuration::from_secs(wall);
        process.now = Moment { steady: process.now.steady + steady, wall };
        assert_eq!(process.leads(), leads, "{steady:?} {wall:?}");
        process.does(Action::Renew, held_by("us", "2"));
        assert!(process.leads(), "the next renewal counts by the new clock");
    }
}

#[test]
fn a_deleted_lease_is_made_again_by_its_holder_and_by_others_only_after_its_time() {
    let mut process = Process::leading();
    process.does(Action::Renew, Answer::Absent).does(Action::Create, held_by("us", "5"));
    assert!(process.leads());

    let mut process = Process::standing_by();
    process.does(Action::Look, Answer::Absent).waits();
    process.passes(VALIDITY).does(Action::Look, Answer::Absent).waits();
    process.passes(DURATION).does(Action::Look, Answer::Absent).does(Action::Create, held_by("us", "9"));
    assert!(process.leads());

    let mut process = Process::leading();
    process.passes(VALIDITY).does(Action::Renew, Answer::Absent).waits();
}

#[test]
fn a_conflict_is_followed_by_a_short_rest() {
    let mut process = Process::leading();
    process.does(Action::Renew, Answer::Conflict);
    assert!(process.election.due > process.now.steady);
}
