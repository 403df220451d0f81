//! Names that belong together: nearly always it is one, seldom a crowd. Pure.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
};

use crate::api::Key;

/// Groups of names, in order, none of them empty.
pub(super) struct Groups<K>(HashMap<K, Few>);

impl<K: Hash + Eq> Groups<K> {
    pub(super) fn new() -> Self {
        Self(HashMap::new())
    }

    /// Adds a name to a group, unless it is there.
    pub(super) fn add(&mut self, group: K, name: Key) {
        match self.0.entry(group) {
            Entry::Occupied(mut few) => few.get_mut().add(name),
            Entry::Vacant(few) => {
                few.insert(Few::One(name));
            }
        }
    }

    /// Takes a name out of a group; says whether it was the last.
    pub(super) fn remove(&mut self, group: &K, name: &Key) -> bool {
        let is_last = self.0.get_mut(group).is_some_and(|few| few.remove(name));
        if is_last {
            self.0.remove(group);
        }
        is_last
    }

    /// The names of a group.
    pub(super) fn of(&self, group: &K) -> &[Key] {
        self.0.get(group).map_or(&[], Few::as_slice)
    }

    /// The group itself as it is held, where there is one.
    pub(super) fn held(&self, group: &K) -> Option<&K> {
        self.0.get_key_value(group).map(|(held, _)| held)
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &[Key])> {
        self.0.iter().map(|(group, few)| (group, few.as_slice()))
    }
}

/// At least one name, in order, none twice. Smaller than a vector with room for one.
enum Few {
    One(Key),
    // Boxed twice for the size: a vector would make each of the others as large as itself.
    #[allow(clippy::box_collection, reason = "there are tens of thousands of the others")]
    More(Box<Vec<Key>>),
}

impl Few {
    fn as_slice(&self) -> &[Key] {
        match self {
            Self::One(key) => std::slice::from_ref(key),
            Self::More(keys) => keys,
        }
    }

    /// Adds a name, unless it is there.
    fn add(&mut self, key: Key) {
        let Err(place) = self.as_slice().binary_search(&key) else {
            return;
        };
        match self {
            Self::One(one) => {
                let mut keys = vec![one.clone()];
                keys.insert(place, key);
                *self = Self::More(Box::new(keys));
            }
            Self::More(keys) => keys.insert(place, key),
        }
    }

    /// Takes a name out; says whether it was the last.
    fn remove(&mut self, key: &Key) -> bool {
        match self {
            Self::One(one) => one == key,
            Self::More(keys) => {
                if let Ok(place) = keys.binary_search(key) {
                    keys.remove(place);
                }
                keys.is_empty()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn as_ordered_sets_would(steps in proptest::collection::vec((any::<bool>(), 0u8..3, 0u8..5), 0..60)) {
            let (mut groups, mut model) = (Groups::new(), BTreeMap::<u8, BTreeSet<Key>>::new());
            for (adds, group, name) in steps {
                let name = Key::new("ns", &name.to_string());
                let names = model.entry(group).or_default();
                if adds {
                    groups.add(group, name.clone());
                    names.insert(name);
                } else {
                    let was_last = names.remove(&name) && names.is_empty();
                    prop_assert_eq!(groups.remove(&group, &name), was_last);
                }
                for (group, names) in &model {
                    prop_assert_eq!(groups.of(group), names.iter().cloned().collect::<Vec<_>>());
                    prop_assert_eq!(groups.held(group).is_some(), !names.is_empty());
                }
            }
        }
    }

    #[test]
    fn one_takes_little_room() {
        assert_eq!(size_of::<Few>(), 2 * size_of::<usize>());
    }
}
