//! How much room a table keeps that a wave has filled.

use std::{collections::HashMap, hash::Hash};

/// Gives back what a table has of room, once hardly anything is left in it: to shrink it takes a second table for a
/// moment, and to do that at every step of the way down would take more memory than the wave did.
pub(crate) fn give_back<K: Hash + Eq, V>(table: &mut HashMap<K, V>) {
    if table.capacity() > 8 * table.len() {
        table.shrink_to(2 * table.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_wave_took_is_given_back_when_it_is_over() {
        let mut table: HashMap<u32, u32> = (0..10_000).map(|n| (n, n)).collect();
        let filled = table.capacity();
        table.retain(|n, _| *n < 5000);
        give_back(&mut table);
        assert!(table.capacity() > filled / 2, "of {filled}: {}", table.capacity());
        table.retain(|n, _| *n < 1000);
        give_back(&mut table);
        assert!((2000..4000).contains(&table.capacity()) && table.len() == 1000, "{}", table.capacity());
        table.clear();
        give_back(&mut table);
        assert_eq!(table.capacity(), 0);
    }
}
