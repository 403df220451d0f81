//! When: the renewal of a token, the next attempt after a failure, the repair of an edited Secret.
//! Pure functions over instants and counts. All durations are whole seconds.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::squadcast::Fingerprint;

/// Where a token is held and a first rejection came: when to ask whether it was meant.
pub const CONFIRM_REJECTION: i64 = 60;
/// How often a resource that waits for somebody to act is looked at again without being woken.
pub const RECHECK: i64 = 600;
/// Two successful exchanges of one resource are at least 5 s apart. Instants in the status are cut to whole
/// seconds, hence one more.
pub const BETWEEN_EXCHANGES: i64 = 6;

const BACK_OFF_FIRST: i64 = 5;
const BACK_OFF_CAP: i64 = 300;
/// The cap where little life is left.
const BACK_OFF_CAP_URGENT: i64 = 30;
const URGENT: i64 = 15 * 60;
const CONTESTED_CAP: i64 = 600;
/// Repairs that come at once within an hour.
const FREE_REPAIRS: usize = 2;
const HOUR: i64 = 3600;

/// From when to when a token is good, by this cluster's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// When it was issued.
    pub issued: Timestamp,
    /// When it expires.
    pub expires: Timestamp,
}

/// How a resource wants its token renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenewalPolicy {
    /// After two thirds of the life.
    TwoThirds,
    /// This many seconds before expiry.
    Before(i64),
    /// When this percentage of the life is left.
    Percentage(i32),
}

/// When to renew, and whether the resource's wish could be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// The instant, in whole seconds.
    pub at: Timestamp,
    /// `renewBefore` is not shorter than the life, so two thirds were taken instead.
    pub wish_too_long: bool,
}

/// Seconds from `a` to `b`, cut to whole ones.
pub fn seconds_between(a: Timestamp, b: Timestamp) -> i64 {
    b.duration_since(a).as_secs()
}

/// `at` moved by `seconds`; stays where it is at the end of time.
pub fn plus(at: Timestamp, seconds: i64) -> Timestamp {
    at.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(at)
}

/// `at` without its fraction of a second.
pub fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// The renewal instant of a token: by policy, moved earlier by up to a tenth of the way from issue to that
/// instant, by a share fixed for the refresh token, so that resources of one refresh token stay together
/// and those of different ones spread.
pub fn renewal(life: Life, policy: RenewalPolicy, fingerprint: Fingerprint) -> Renewal {
    let length = seconds_between(life.issued, life.expires).max(0);
    let two_thirds = length * 2 / 3;
    let (after, wish_too_long) = match policy {
        RenewalPolicy::TwoThirds => (two_thirds, false),
        RenewalPolicy::Before(seconds) if seconds < length => (length - seconds, false),
        RenewalPolicy::Before(_) => (two_thirds, true),
        RenewalPolicy::Percentage(left) => (length * i64::from(100 - left.clamp(1, 99)) / 100, false),
    };
    let earlier = after * fingerprint.permille() / 10_000;
    Renewal { at: whole_seconds(plus(life.issued, after - earlier)), wish_too_long }
}

/// Where the renewal instant had already passed when the token was got, or the token expires no later than
/// the one before: half of the life that is left.
pub fn half_of_the_rest(received: Timestamp, expires: Timestamp) -> Timestamp {
    let left = seconds_between(received, expires).max(0);
    whole_seconds(plus(received, left / 2))
}

/// Seconds until the next attempt after a transient failure; `failures` counts those before this one, `left`
/// is the life left of the token held.
pub fn back_off(failures: u32, left: Option<i64>, fingerprint: Option<Fingerprint>) -> i64 {
    let cap = if left.is_some_and(|left| left < URGENT) { BACK_OFF_CAP_URGENT } else { BACK_OFF_CAP };
    let base = doubled(BACK_OFF_FIRST, failures).min(cap);
    // 80 % to 120 %, fixed for the refresh token.
    let per_mille = 800 + fingerprint.map_or(200, |f| f.permille() * 400 / 999);
    (base * per_mille + 500) / 1000
}

/// Seconds until the next attempt after a rejection that someone must resolve.
pub fn after_rejection(left: Option<i64>) -> i64 {
    left.filter(|left| *left > 0).map_or(HOUR, |left| (left / 10).clamp(300, HOUR))
}

/// Seconds until the next attempt where Squadcast said how long to wait.
pub fn after_rate_limit(asked: i64, left: Option<i64>) -> i64 {
    let most = left.filter(|left| *left > 0).map_or(HOUR, |left| (left / 2).clamp(1, HOUR));
    asked.clamp(1, most)
}

/// When the next repair of edited or deleted data may come; `None`: at once. `repairs` are the instants of
/// earlier ones, oldest first.
pub fn next_repair(repairs: &[Timestamp], now: Timestamp) -> Option<Timestamp> {
    // Those that are yet to come were noted before the clock was set back.
    let recent: Vec<_> =
        repairs.iter().filter(|at| (0..HOUR).contains(&seconds_between(**at, now))).collect();
    let over = u32::try_from(recent.len().checked_sub(FREE_REPAIRS)?).unwrap_or(u32::MAX);
    let at = plus(**recent.last()?, doubled(BACK_OFF_FIRST, over).min(CONTESTED_CAP));
    (at > now).then_some(at)
}

fn doubled(first: i64, times: u32) -> i64 {
    first.saturating_mul(1i64.checked_shl(times.min(40)).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn share(permille: u64) -> Fingerprint {
        Fingerprint::parse(&format!("{permille:016x}")).unwrap()
    }

    #[test]
    fn the_published_example_is_renewed_after_two_thirds() {
        let life = Life { issued: at(1_587_240_070), expires: at(1_587_412_870) };
        let renewal = renewal(life, RenewalPolicy::TwoThirds, share(0));
        assert_eq!(renewal, Renewal { at: at(1_587_240_070 + 115_200), wish_too_long: false });
    }

    #[test]
    fn policies() {
        let life = Life { issued: at(1000), expires: at(4600) };
        for (policy, permille, expected, too_long) in [
            (RenewalPolicy::TwoThirds, 0, 3400, false),
            (RenewalPolicy::TwoThirds, 500, 3280, false),
            (RenewalPolicy::Before(600), 0, 4000, false),
            (RenewalPolicy::Before(600), 999, 4000 - 299, false),
            (RenewalPolicy::Before(3599), 0, 1001, false),
            (RenewalPolicy::Before(3600), 0, 3400, true),
            (RenewalPolicy::Before(i64::MAX), 0, 3400, true),
            (RenewalPolicy::Percentage(25), 0, 3700, false),
            (RenewalPolicy::Percentage(99), 0, 1036, false),
            (RenewalPolicy::Percentage(1), 0, 4564, false),
        ] {
            let expected = Renewal { at: at(expected), wish_too_long: too_long };
            assert_eq!(renewal(life, policy, share(permille)), expected, "{policy:?} {permille}");
        }
    }

    #[test]
    fn back_off_doubles_to_its_cap_and_is_tighter_near_expiry() {
        let middle = share(500);
        let waits: Vec<_> = (0..8).map(|n| back_off(n, None, Some(middle))).collect();
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(back_off(7, Some(900), Some(middle)), 300);
        assert_eq!(back_off(7, Some(899), Some(middle)), 30);
        assert_eq!(back_off(7, Some(-5), Some(middle)), 30);
        assert_eq!(back_off(0, None, Some(share(0))), 4);
        assert_eq!(back_off(0, None, Some(share(999))), 6);
        assert_eq!(back_off(9, None, Some(share(999))), 360);
    }

    #[test]
    fn rejections_and_rate_limits() {
        assert_eq!(after_rejection(None), 3600);
        assert_eq!(after_rejection(Some(172_800)), 3600);
        assert_eq!(after_rejection(Some(20_000)), 2000);
        assert_eq!(after_rejection(Some(600)), 300);
        assert_eq!(after_rejection(Some(0)), 3600);
        assert_eq!(after_rate_limit(0, None), 1);
        assert_eq!(after_rate_limit(120, None), 120);
        assert_eq!(after_rate_limit(120, Some(100)), 50);
        assert_eq!(after_rate_limit(86_400, None), 3600);
        assert_eq!(after_rate_limit(5, Some(1)), 1);
    }

    #[test]
    fn two_repairs_an_hour_are_free() {
        let now = at(10_000);
        assert_eq!(next_repair(&[], now), None);
        assert_eq!(next_repair(&[at(9_999)], now), None);
        assert_eq!(next_repair(&[at(9_990), at(9_999)], now), Some(at(10_004)));
        assert_eq!(next_repair(&[at(9_990), at(9_994), at(9_999)], now), Some(at(10_009)));
        assert_eq!(next_repair(&[at(6_000), at(6_001), at(9_999)], now), None);
        let many: Vec<_> = (0..40).map(|n| at(9_900 + n)).collect();
        assert_eq!(next_repair(&many, now), Some(at(9_939 + 600)));
    }

    proptest! {
        #[test]
        fn a_renewal_lies_within_the_life(
            issued in 0i64..4_000_000_000, length in 1i64..400_000_000, permille in 0u64..1000,
            before in 1i64..400_000_000, percentage in 1i32..=99, which in 0..3,
        ) {
            let life = Life { issued: at(issued), expires: at(issued + length) };
            let policy = match which {
                0 => RenewalPolicy::TwoThirds,
                1 => RenewalPolicy::Before(before),
                _ => RenewalPolicy::Percentage(percentage),
            };
            let plain = renewal(life, policy, share(0)).at;
            let spread = renewal(life, policy, share(permille)).at;
            prop_assert!(life.issued <= spread && spread <= plain && plain < life.expires);
            prop_assert!(seconds_between(spread, plain) * 10 <= seconds_between(life.issued, plain) + 10);
        }

        #[test]
        fn back_off_is_monotone_and_capped(n in 0u32..100, left in proptest::option::of(-10i64..10_000), permille in 0u64..1000) {
            let f = Some(share(permille));
            prop_assert!(back_off(n, left, f) <= back_off(n + 1, left, f));
            prop_assert!((4..=360).contains(&back_off(n, left, f)));
        }

        #[test]
        fn half_of_the_rest_comes_before_expiry(received in 0i64..1_000_000, left in 2i64..1_000_000) {
            let half = half_of_the_rest(at(received), at(received + left));
            prop_assert!(at(received) < half && half < at(received + left));
        }
    }
}
