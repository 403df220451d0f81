//! The rate, the order, and who is held back, by the clock and at random.

use proptest::prelude::*;

use super::*;
use crate::squadcast::RefreshToken;

fn at(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap()
}

fn limits(per_second: f64, in_flight: usize) -> Limits<()> {
    Limits::new(Rate { per_second, in_flight }, at(0))
}

fn print(number: usize) -> Fingerprint {
    RefreshToken::parse(format!("token {number}").as_bytes()).unwrap().fingerprint("us")
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_burst_of_one_seconds_worth_then_the_rate() {
    let mut limits = limits(10.0, 100);
    let mut go = |now| {
        let ticket = limits.join(None, ());
        let turn = limits.turn(ticket, now);
        limits.leave(ticket);
        turn
    };
    for _ in 0..10 {
        assert_eq!(go(at(0)), Turn::Go);
    }
    assert_eq!(go(at(0)), Turn::After(Duration::from_millis(101)));
    assert_eq!(go(at(99)), Turn::After(Duration::from_millis(2)));
    assert_eq!(go(at(101)), Turn::Go);
    assert!(matches!(go(at(101)), Turn::After(_)));
    // A clock that is set back earns nothing, and loses nothing but the time.
    assert!(matches!(go(at(-100_000)), Turn::After(_)));
    assert_eq!(go(at(-99_899)), Turn::Go);
}

#[test]
fn a_rate_below_one() {
    let mut limits = limits(0.5, 1);
    let first = limits.join(None, ());
    assert_eq!(limits.turn(first, at(0)), Turn::Go);
    limits.ended(true);
    let second = limits.join(None, ());
    assert_eq!(limits.turn(second, at(0)), Turn::After(Duration::from_millis(2001)));
    assert_eq!(limits.turn(second, at(2001)), Turn::Go);
}

#[test]
fn so_many_in_flight() {
    let mut limits = limits(10.0, 2);
    let tickets: Vec<_> = (0..3).map(|_| limits.join(None, ())).collect();
    assert_eq!(limits.turn(tickets[0], at(0)), Turn::Go);
    assert_eq!(limits.turn(tickets[1], at(0)), Turn::Go);
    assert_eq!(limits.turn(tickets[2], at(0)), Turn::Later);
    limits.ended(true);
    assert_eq!(limits.turn(tickets[2], at(0)), Turn::Go);
    assert!(limits.first().is_none());
}

#[test]
fn the_least_life_goes_first() {
    let mut limits = limits(10.0, 8);
    let long = limits.join(Some(at(9000)), ());
    let short = limits.join(Some(at(1000)), ());
    let later = limits.join(Some(at(1000)), ());
    let none = limits.join(None, ());
    for (now_first, others) in [(none, vec![short, later, long]), (short, vec![later, long])] {
        for other in others {
            assert_eq!(limits.turn(other, at(0)), Turn::Later);
        }
        assert_eq!(limits.turn(now_first, at(0)), Turn::Go);
    }
    limits.hurry(long, Some(at(10_000)));
    assert_eq!(limits.turn(long, at(0)), Turn::Later);
    limits.hurry(long, Some(at(500)));
    assert_eq!(limits.turn(later, at(0)), Turn::Later);
    assert_eq!(limits.turn(long, at(0)), Turn::Go);
    limits.leave(later);
    assert!(limits.all().is_empty());
}

#[test]
fn three_refused_tokens_hold_back_the_region() {
    let mut limits = limits(10.0, 8);
    let held = |limits: &Limits<()>, now| limits.held(at(now)).map(|left| left.as_secs());
    limits.refused(print(1), at(0), secs(120));
    limits.refused(print(1), at(1000), secs(120));
    limits.refused(print(2), at(2000), secs(30));
    assert_eq!(held(&limits, 2000), None);
    limits.refused(print(3), at(12_000), secs(600));
    assert_eq!(held(&limits, 12_000), Some(20));
    let ticket = limits.join(None, ());
    assert_eq!(limits.turn(ticket, at(12_000)), Turn::Held(secs(20)));
    assert!(limits.first().is_none());
    assert_eq!(held(&limits, 32_000), None);
    // The second one's wait has ended: it counts no more, but a fourth makes three again.
    limits.refused(print(4), at(40_000), secs(50));
    assert_eq!(held(&limits, 40_000), Some(50));
    // The clock is set back by an hour: nobody waits for an hour.
    assert_eq!(held(&limits, 40_000 - 3_600_000), None);
}

#[test]
fn refusals_further_apart_do_not() {
    let mut limits = limits(10.0, 8);
    for number in 0..10 {
        let now = at(i64::try_from(number).unwrap() * 31_000);
        limits.refused(print(number), now, secs(3600));
        assert_eq!(limits.held(now), None);
    }
    for number in 0..10 {
        let now = at(1_000_000 + i64::try_from(number).unwrap() * 1000);
        limits.refused(print(number), now, secs(1));
        assert_eq!(limits.held(now), None);
    }
}

proptest! {
    #[test]
    fn never_more_than_allowed(steps in prop::collection::vec((0..400i64, 0..4usize, any::<bool>()), 1..200)) {
        let mut limits = limits(5.0, 3);
        let (mut now, mut flying, mut went) = (0, 0, Vec::new());
        let mut tickets = Vec::new();
        for (wait, join, end) in steps {
            now += wait;
            tickets.extend((0..join).map(|life| {
                let expires_at = Some(at(i64::try_from(life).unwrap()));
                (expires_at, limits.join(expires_at, ()))
            }));
            if end && flying > 0 {
                limits.ended(true);
                flying -= 1;
            }
            tickets.sort_unstable();
            while let Some((_, first)) = tickets.first() {
                if limits.turn(*first, at(now)) != Turn::Go {
                    break;
                }
                tickets.remove(0);
                flying += 1;
                went.push(now);
            }
            prop_assert!(flying <= 3);
            prop_assert_eq!(limits.all().len(), tickets.len());
        }
        for from in &went {
            let within = went.iter().filter(|at| (*from..from + 1000).contains(*at)).count();
            prop_assert!(within <= 10, "{within} in a second");
        }
    }
}
