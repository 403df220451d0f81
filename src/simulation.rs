//! Years of resources' lives in seconds: the real operator, loop, index, queue, timers, reconciles, shared exchanges
//! and limits, on tokio's paused time, against a model of cluster, clock and Squadcast.
//!
//! A script of faults and of what users do is drawn at random (`script`) and played (`play`): Squadcast has its moods
//! (`squadcast`), the API server its outages, lost answers, conflicts and refusals (`cluster`, `secrets`), the watches
//! lag and start over (`feed`), the process is told to stop, dies at any request and loses the lease (`process`), the
//! clock is set and the machine sleeps (`time`). All the while somebody who knows the truth looks at it:
//!
//! | promise | where |
//! |---|---|
//! | an exchange needs a cause, and waits for what its failure, or Squadcast, asked for, also after a restart; never two at once with one refresh token; none without the lease | `judge` |
//! | failures are counted one by one and the pause after each is the contract's; conditions, failures and times agree; renewals come within their share of the life; nothing is written that says nothing | `promises` |
//! | `Ready` is what the target holds; what is due is done a minute after nothing stands in its way, or when the wait ends that the status names; a refresh token that was replaced is written back and nothing but that ever overwrites one; no former target is left | `watch` |
//! | in the end all is well, a restart costs nothing, and 20 quiet days cost what the renewals do | `play` |
//!
//! The first script that breaks a promise is made as small as it can be and printed as a test for `regressions`,
//! which prints a journal when it fails. Operators that are wrong on purpose (`wrong`) must be found out.
//!
//! `make simulate` plays for a minute or as long as one likes, `make simulate-wrong` the wrong ones.

mod cluster;
mod feed;
mod judge;
mod objects;
mod operator;
mod play;
mod process;
mod promises;
mod regressions;
mod run;
mod script;
mod secrets;
mod squadcast;
mod time;
mod watch;
mod wrong;

use self::{
    play::play,
    run::{Amount, run},
    script::{Mood::*, Script, Step, Step::*},
    wrong::Wrong,
};

/// A number from the environment.
fn number(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).unwrap_or_default();
    if text.is_empty() {
        default
    } else {
        text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number"))
    }
}

fn script(write_back: bool, steps: &[(Step, u32)]) -> Script {
    Script { write_back, steps: steps.to_vec(), in_full: false }
}

fn plays_well(write_back: bool, steps: &[(Step, u32)]) {
    play(&script(write_back, steps), None, true).unwrap_or_else(|broken| panic!("{broken}"));
}

#[test]
fn the_promises_hold_whatever_happens() {
    let seed = number("SIMULATION_SEED", 1);
    let amount = Amount { seed, years: number("SIMULATION_YEARS", 0), cases: number("SIMULATION_CASES", 12) };
    match run(amount, None) {
        Ok(summary) => println!("{summary}"),
        Err(broken) => panic!("seed {seed}: {}", broken.shrink(seed)),
    }
}

#[test]
fn a_quiet_life() {
    plays_well(false, &[]);
    plays_well(true, &[]);
}

/// 48 hours of life, of which 16 are left at the renewal.
#[test]
fn fifteen_hours_of_outage_cost_no_token() {
    for begins in [0u32, 28, 29, 30, 31, 32] {
        outage(begins, 15).unwrap_or_else(|broken| panic!("after {begins} h: {broken}"));
    }
}

/// Or the test above would prove nothing.
#[test]
fn an_outage_that_outlasts_the_life_is_not_overlooked() {
    let broken = outage(0, 50).unwrap_err();
    assert!(broken.contains("has expired"), "{broken}");
}

/// An outage of Squadcast, in hours from the first token on, in which no token may expire.
fn outage(begins: u32, length: u32) -> Result<play::Played, String> {
    let steps = [(Fine, begins), (Unavailable, length), (Fine, 1)];
    let steps = steps.map(|(mood, hours)| (Squadcast(mood), hours * 3600));
    play(&Script { in_full: true, ..script(false, &steps) }, None, false)
}

#[test]
fn wrong_operators_are_found_out() {
    for (wrong, steps) in [
        (Wrong::ForgetsFailures, &[(Squadcast(Unavailable), 0), (Replace(1), 100), (Restart, 10)][..]),
        (Wrong::IgnoresRetryAfter, &[(Squadcast(Limiting(Some(1000))), 0), (Replace(1), 600)]),
        (Wrong::RenewsAtTheLastMoment, &[]),
        (Wrong::LosesRotations, &[(Squadcast(Rotating), 0), (AskForRenewal(0), 600)]),
        (Wrong::TrustsItsClock, &[(SetClock(-100_000), 0), (AskForRenewal(2), 200_000)]),
        (Wrong::SleepsOn, &[(Sleep(150_000), 400)]),
        (Wrong::MissesDeletions, &[(DeleteTarget(2), 400)]),
        (Wrong::LeadsTwice, &[]),
    ] {
        let script = script(true, steps);
        play(&script, None, false).unwrap_or_else(|broken| panic!("without {wrong:?}: {broken}"));
        let found = play(&script, Some(wrong), false);
        println!("{wrong:?}: {}", found.err().unwrap_or_else(|| panic!("{wrong:?} was not found out")));
    }
}

/// Without a script made for it: at random, as a fault that nobody has thought of would be.
#[test]
fn wrong_operators_are_found_out_by_chance() {
    let seed = number("SIMULATION_SEED", 1);
    let wanted = std::env::var("SIMULATION_WRONG").unwrap_or_default();
    let default = format!("{:?}", Wrong::ForgetsFailures);
    let wanted = if wanted.is_empty() { default } else { wanted };
    let chosen: Vec<Wrong> =
        Wrong::ALL.into_iter().filter(|wrong| wanted == "all" || wanted == format!("{wrong:?}")).collect();
    assert!(!chosen.is_empty(), "there is no wrong operator {wanted}");
    for wrong in chosen {
        match run(Amount { seed, years: 0, cases: 300 }, Some(wrong)) {
            Ok(_) => panic!("seed {seed}: {wrong:?} was not found out"),
            Err(broken) => println!("{wrong:?} was found out after {:.1?}: {}", broken.took, broken.promise),
        }
    }
}

#[test]
fn a_script_is_printed_as_the_test_that_plays_it() {
    let bare = |text: &str| text.replace([' ', '\n'], "").replace(",]", "]");
    let printed = script(false, &[(Storm(7), 0), (MoveTarget(0, 0), 10)]);
    let printed = printed.as_test("failures_that_could_not_be_told_are_counted");
    assert!(bare(include_str!("simulation/regressions.rs")).contains(&bare(&printed)), "{printed}");
}

#[test]
fn a_script_plays_the_same_twice() {
    let steps = [
        (Squadcast(Rotating), 10),
        (AskForRenewal(0), 500),
        (Lag(20, 90), 0),
        (Edit(1), 100),
        (Storm(5), 0),
        (Die(3, true), 0),
        (ChangeTemplate(0, 1), 100_000),
    ];
    let once = play(&script(true, &steps), None, false);
    assert!(once.is_ok(), "{once:?}");
    assert_eq!(once, play(&script(true, &steps), None, false));
}
