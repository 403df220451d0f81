//! What the process remembers of resources between their reconciles. Pure.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

use jiff::Timestamp;

use crate::{
    api::Key,
    reconcile::{Memory, exchange_matters},
    room::give_back,
};

/// The memories that hold something.
#[derive(Default)]
pub struct Memories {
    known: HashMap<Key, Remembered>,
    hasher: RandomState,
}

/// What is remembered of the resource with this uid.
struct Remembered {
    /// A hash over it.
    uid: u64,
    memory: AtRest,
}

/// After a wave of exchanges there is a memory for each resource, and nearly all hold the same two instants. These need
/// no block of their own: blocks that go after a minute leave holes between those that stay.
enum AtRest {
    Exchanged { last_grant: Timestamp, last_answer: Timestamp },
    Other(Box<Memory>),
}

impl AtRest {
    fn new(memory: Memory) -> Self {
        match (memory.last_grant, memory.last_answer) {
            (Some(last_grant), Some(last_answer)) if memory.is_settled() => {
                Self::Exchanged { last_grant, last_answer }
            }
            _ => Self::Other(Box::new(memory)),
        }
    }

    fn memory(self) -> Memory {
        match self {
            Self::Exchanged { last_grant, last_answer } => {
                Memory { last_grant: Some(last_grant), last_answer: Some(last_answer), ..Memory::default() }
            }
            Self::Other(memory) => *memory,
        }
    }
}

impl Memories {
    /// Takes out what is remembered of the resource with this uid; what is remembered of another one under the same name
    /// is forgotten.
    pub fn take(&mut self, key: &Key, uid: &str) -> Memory {
        let uid = self.hasher.hash_one(uid);
        self.known
            .remove(key)
            .filter(|known| known.uid == uid)
            .map(|known| known.memory.memory())
            .unwrap_or_default()
    }

    /// Remembers it, if there is something to remember.
    pub fn put(&mut self, key: &Key, uid: &str, memory: Memory) {
        if !memory.is_empty() {
            let uid = self.hasher.hash_one(uid);
            self.known.insert(key.clone(), Remembered { uid, memory: AtRest::new(memory) });
        }
    }

    /// Forgets a resource; says whether a refresh token was still to be written back for it.
    pub fn forget(&mut self, key: &Key) -> bool {
        self.known.remove(key).is_some_and(|known| known.memory.memory().has_duty())
    }

    /// The process is about to end: what is to be saved for this resource is saved now. Says whether there is something.
    pub fn last_chance(&mut self, key: &Key) -> bool {
        match self.known.get_mut(key) {
            Some(Remembered { memory: AtRest::Other(memory), .. }) => {
                memory.last_chance = true;
                true
            }
            _ => false,
        }
    }

    /// The resources of which something is remembered.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.known.keys()
    }

    /// Forgets what is of no use any more, whole memories among it.
    pub fn forget_old(&mut self, now: Timestamp) {
        self.known.retain(|_, known| match &mut known.memory {
            AtRest::Exchanged { last_grant, last_answer } => {
                exchange_matters(*last_grant, now) || exchange_matters(*last_answer, now)
            }
            AtRest::Other(memory) => {
                memory.forget_old(now);
                !memory.is_empty()
            }
        });
        give_back(&mut self.known);
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.known = HashMap::new();
    }
}

#[cfg(test)]
mod tests {
    use proptest::{option, prelude::*};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap_or_default()
    }

    fn maybe() -> impl Strategy<Value = Option<Timestamp>> {
        option::of((0i64..100).prop_map(at))
    }

    fn told(memory: &Memory) -> impl PartialEq + std::fmt::Debug + use<> {
        (
            memory.last_grant,
            memory.last_answer,
            memory.unreachable,
            memory.repairs.clone(),
            memory.last_chance,
        )
    }

    proptest! {
        /// However it is held meanwhile.
        #[test]
        fn what_was_remembered_is_told_once(last_grant in maybe(), last_answer in maybe(), unreachable in 0u32..2, repaired in any::<bool>()) {
            let repairs = if repaired { vec![at(7)] } else { Vec::new() };
            let memory = Memory { repairs, last_grant, last_answer, unreachable, ..Memory::default() };
            let (key, mut memories) = (Key::new("ns", "a"), Memories::default());
            memories.put(&key, "uid", memory.clone());
            prop_assert_eq!(memories.keys().count(), usize::from(!memory.is_empty()));
            prop_assert_eq!(told(&memories.take(&key, "uid")), told(&memory));
            prop_assert!(memories.take(&key, "uid").is_empty());
        }

        /// As the memory itself would forget, but that of two instants none goes alone.
        #[test]
        fn what_is_of_no_use_is_forgotten(last_grant in maybe(), last_answer in maybe(), now in 0i64..200) {
            let memory = Memory { last_grant, last_answer, ..Memory::default() };
            let (key, mut memories) = (Key::new("ns", "a"), Memories::default());
            memories.put(&key, "uid", memory.clone());
            memories.forget_old(at(now));
            let mut alone = memory;
            alone.forget_old(at(now));
            prop_assert_eq!(memories.keys().count(), usize::from(!alone.is_empty()));
        }
    }

    #[test]
    fn another_uid_is_another_resource() {
        let (key, mut memories) = (Key::new("ns", "a"), Memories::default());
        memories.put(&key, "former", Memory { unreachable: 1, ..Memory::default() });
        assert!(memories.take(&key, "latter").is_empty());
        assert_eq!(memories.keys().count(), 0);
    }

    #[test]
    fn a_last_chance_is_for_what_is_left_to_be_done() {
        let (key, mut memories) = (Key::new("ns", "a"), Memories::default());
        assert!(!memories.last_chance(&key));
        let exchanged = Memory { last_grant: Some(at(1)), last_answer: Some(at(1)), ..Memory::default() };
        memories.put(&key, "uid", exchanged.clone());
        assert!(!memories.last_chance(&key));
        memories.put(&key, "uid", Memory { unreachable: 1, ..exchanged });
        assert!(memories.last_chance(&key) && memories.take(&key, "uid").last_chance);
    }

    #[test]
    fn nothing_of_a_wave_has_a_block_of_its_own() {
        let memory = Memory { last_grant: Some(at(1)), last_answer: Some(at(1)), ..Memory::default() };
        assert!(matches!(AtRest::new(memory), AtRest::Exchanged { .. }));
        assert!(size_of::<(Key, Remembered)>() <= 56);
    }
}
