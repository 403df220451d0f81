//! When to look at which resource again. Wall clock: what falls due while the machine sleeps is due when it
//! wakes. Pure.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;

use crate::api::Key;

/// At most one instant for each resource.
#[derive(Default)]
pub struct Timers {
    by_time: BTreeSet<(Micros, Key)>,
    by_key: HashMap<Key, Micros>,
}

/// An instant to the microsecond, half as large as one to the nanosecond: each resource has it twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Micros(i64);

impl From<Timestamp> for Micros {
    /// Never earlier than what is asked for.
    fn from(at: Timestamp) -> Self {
        let past = at.subsec_nanosecond() % 1000 > 0;
        Self(at.as_microsecond() + i64::from(past))
    }
}

impl From<Micros> for Timestamp {
    fn from(Micros(at): Micros) -> Self {
        Self::from_microsecond(at).unwrap_or(Self::MAX)
    }
}

impl Timers {
    /// Sets the instant of a resource, instead of the one it had.
    pub fn set(&mut self, key: &Key, at: Option<Timestamp>) {
        if let Some(previous) = self.by_key.remove(key) {
            self.by_time.remove(&(previous, key.clone()));
        }
        if let Some(at) = at {
            self.by_key.insert(key.clone(), at.into());
            self.by_time.insert((at.into(), key.clone()));
        }
    }

    /// The next instant.
    pub fn next(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _)| (*at).into())
    }

    /// Takes out one resource that is due.
    pub fn pop_due(&mut self, now: Timestamp) -> Option<Key> {
        if self.next()? > now {
            return None;
        }
        let (_, key) = self.by_time.pop_first()?;
        self.by_key.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn none_comes_early_and_none_is_late(at in Timestamp::MIN.as_nanosecond()..=Timestamp::MAX.as_nanosecond()) {
            let at = Timestamp::from_nanosecond(at).unwrap();
            let kept = Timestamp::from(Micros::from(at));
            let late = kept.as_nanosecond() - at.as_nanosecond();
            let is_last = Timestamp::MAX.as_nanosecond() - at.as_nanosecond() < 1000;
            prop_assert!((0..1000).contains(&late) || is_last, "{late}");
        }

        /// Against the plainest model there is: a map from resource to instant.
        #[test]
        fn as_a_map_would(steps in proptest::collection::vec((0u8..6, proptest::option::of(0i64..50)), 0..100), now in 0i64..50) {
            let mut timers = Timers::default();
            let mut model = std::collections::BTreeMap::new();
            for (name, at) in steps {
                let key = Key::new("ns", &name.to_string());
                timers.set(&key, at.map(|s| Timestamp::from_second(s).unwrap()));
                match at {
                    Some(at) => { model.insert(key, at); }
                    None => { model.remove(&key); }
                }
                prop_assert_eq!(timers.next().map(Timestamp::as_second), model.values().min().copied());
            }
            let mut due = std::collections::BTreeSet::new();
            while let Some(key) = timers.pop_due(Timestamp::from_second(now).unwrap()) {
                prop_assert!(due.insert(key));
            }
            let expected = model.iter().filter(|(_, at)| **at <= now).map(|(k, _)| k.clone()).collect();
            prop_assert_eq!(due, expected);
            prop_assert!(timers.next().is_none_or(|at| at.as_second() > now));
        }
    }
}
