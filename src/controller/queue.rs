//! Which resources wait for a reconcile, in the order in which they came; none twice, and none while it is
//! being reconciled. Pure.

use std::collections::{HashMap, VecDeque};

use crate::api::Key;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Queued,
    Running,
    /// Running, and wanted again.
    Dirty,
}

/// Room for so many is always kept.
const FEW: usize = 64;

/// The queue.
#[derive(Default)]
pub struct Queue {
    waiting: VecDeque<Key>,
    states: HashMap<Key, State>,
}

impl Queue {
    /// Wants a reconcile; while one runs, another one after it.
    pub fn push(&mut self, key: &Key) {
        match self.states.get_mut(key) {
            None => {
                self.states.insert(key.clone(), State::Queued);
                self.waiting.push_back(key.clone());
            }
            Some(state @ State::Running) => *state = State::Dirty,
            Some(State::Queued | State::Dirty) => {}
        }
    }

    /// The next one, which counts as running from now on.
    pub fn pop(&mut self) -> Option<Key> {
        let key = self.waiting.pop_front()?;
        self.states.insert(key.clone(), State::Running);
        Some(key)
    }

    /// A reconcile has ended.
    pub fn done(&mut self, key: &Key) {
        if self.states.remove(key) == Some(State::Dirty) {
            self.push(key);
        }
        if self.states.is_empty() {
            // The room that a wave took, a restart's for all resources, is given back.
            self.states.shrink_to(FEW);
            self.waiting.shrink_to(FEW);
        }
    }

    /// What does not run yet is wanted no more.
    pub fn forget_waiting(&mut self) {
        self.waiting.clear();
        self.states.retain(|_, state| *state != State::Queued);
        self.states.values_mut().for_each(|state| *state = State::Running);
    }

    /// Whether a reconcile of it runs now.
    pub fn is_running(&self, key: &Key) -> bool {
        matches!(self.states.get(key), Some(State::Running | State::Dirty))
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Nothing runs twice at once, and nothing that was wanted is forgotten.
        #[test]
        fn one_at_a_time_and_none_lost(steps in proptest::collection::vec((0u8..3, 0u8..4), 0..200)) {
            let mut queue = Queue::default();
            let mut running = BTreeSet::new();
            let mut wanted = BTreeSet::new();
            for (step, name) in steps {
                let key = Key::new("ns", &name.to_string());
                match step {
                    0 => { queue.push(&key); wanted.insert(key); }
                    1 => if let Some(key) = queue.pop() {
                        prop_assert!(wanted.remove(&key));
                        prop_assert!(queue.is_running(&key));
                        prop_assert!(running.insert(key));
                    },
                    _ => if running.remove(&key) { queue.done(&key); },
                }
            }
            for key in std::mem::take(&mut running) { queue.done(&key); }
            while let Some(key) = queue.pop() { prop_assert!(wanted.remove(&key)); queue.done(&key); }
            prop_assert!(wanted.is_empty() && queue.is_empty());
        }
    }
}
