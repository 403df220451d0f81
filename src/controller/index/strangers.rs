//! Which names are taken by Secrets that no resource cares about: a fixed number of bits for however many there are.
//! Pure.

use std::hash::{BuildHasher, RandomState};

use crate::api::Key;

/// Bits; two names that share one cost a GET, nothing else. With 100,000 Secrets that is one new name in eleven.
const BITS: u64 = 1 << 20;

/// A set of names that grows no larger, forgets none, and may take one name for another.
#[derive(Default)]
pub(super) struct Strangers {
    bits: Vec<u64>,
    hasher: RandomState,
}

impl Strangers {
    /// There is, or was, or may be, a Secret of this name.
    pub(super) fn note(&mut self, key: &Key) {
        let (word, bit) = self.place(key);
        if self.bits.is_empty() {
            self.bits = vec![0; usize::try_from(BITS / 64).unwrap_or_default()];
        }
        if let Some(bits) = self.bits.get_mut(word) {
            *bits |= bit;
        }
    }

    /// False where no Secret of this name was noted.
    pub(super) fn may_hold(&self, key: &Key) -> bool {
        let (word, bit) = self.place(key);
        self.bits.get(word).is_some_and(|bits| bits & bit != 0)
    }

    fn place(&self, key: &Key) -> (usize, u64) {
        let hash = self.hasher.hash_one(key) % BITS;
        (usize::try_from(hash / 64).unwrap_or_default(), 1 << (hash % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_that_was_noted_is_denied_and_few_others_are_taken_for_one() {
        let key = |n: u32| Key::new("ns", &n.to_string());
        let mut strangers = Strangers::default();
        assert!(!strangers.may_hold(&key(0)));
        (0..10_000).for_each(|n| strangers.note(&key(n)));
        assert!((0..10_000).all(|n| strangers.may_hold(&key(n))));
        let mistaken = (10_000..20_000).filter(|n| strangers.may_hold(&key(*n))).count();
        assert!(mistaken < 200, "{mistaken} of 10,000");
    }
}
