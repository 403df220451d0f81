//! What is known of Secrets: facts of those that a resource names or controls, and of every other at most that its
//! name is taken. Where the watches show only labelled Secrets, these are few, and their facts are all kept. Knows no
//! resources. Pure.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{WatchId, strangers::Strangers, version};
use crate::{
    api::Key,
    reconcile::Known,
    secret::{Managed, SecretFacts, SecretMeta},
};

#[derive(Default)]
pub(super) struct Secrets {
    /// Secrets that a resource names, or controls; with `by_label` all that a watch shows, and what was last read
    /// of those that a resource names and no watch shows.
    facts: HashMap<Key, Arc<SecretFacts>>,
    /// Uid of a resource → Secrets that it controls.
    by_controller: HashMap<Arc<str>, Vec<Key>>,
    /// Those of `facts` that each watch has shown.
    present: HashMap<WatchId, HashSet<Key>>,
    relisted: HashMap<WatchId, HashSet<Key>>,
    strangers: Strangers,
    /// What the operator wrote into the Secret that was shown last.
    managed: Arc<Managed>,
    /// The watches show only labelled Secrets, two of them in each namespace: one for each label.
    by_label: bool,
}

impl Secrets {
    pub(super) fn new(by_label: bool) -> Self {
        Self { by_label, ..Self::default() }
    }

    /// A watch shows a Secret, which a resource names or not. Says whether that is news worth keeping.
    pub(super) fn apply(&mut self, watch: WatchId, key: &Key, secret: SecretMeta, named: bool) -> bool {
        if !(named || self.keeps(&secret.facts) || self.facts.contains_key(key)) {
            self.strangers.note(key);
            return false;
        }
        if let Some(seen) = self.relisted.get_mut(&watch) {
            seen.insert(key.clone());
        }
        self.present.entry(watch).or_default().insert(key.clone());
        let mut facts = secret.facts;
        // Nearly all targets have the same keys: their names are held once.
        if facts.managed == self.managed {
            facts.managed = self.managed.clone();
        } else if facts.written_by_us() {
            self.managed = facts.managed.clone();
        }
        self.store(key, Arc::new(facts))
    }

    /// A watch shows a Secret no more, since this version. Says whether none does.
    pub(super) fn delete(&mut self, watch: WatchId, key: &Key, resource_version: &str) -> bool {
        for names in [self.relisted.get_mut(&watch), self.present.get_mut(&watch)].into_iter().flatten() {
            names.remove(key);
        }
        if self.facts.get(key).is_some_and(|f| version(&f.resource_version) > version(resource_version)) {
            // A former Secret of this name; what has been written since is another.
            return false;
        }
        if self.by_label && self.is_present(key) {
            // It has lost one of its two labels, which the other watch tells too.
            return false;
        }
        if self.facts.get(key).is_some_and(|facts| self.is_watched(facts)) {
            self.forget(key);
        }
        true
    }

    /// A list begins.
    pub(super) fn relist(&mut self, watch: WatchId) {
        self.relisted.insert(watch, HashSet::new());
    }

    /// The list is complete: what it did not show is forgotten. `scope` is the watch's namespace, if it has one.
    /// Returns what has gone.
    pub(super) fn listed(&mut self, watch: WatchId, scope: Option<&str>) -> Vec<Key> {
        let seen = self.relisted.remove(&watch).unwrap_or_default();
        self.present.insert(watch, seen);
        let gone: Vec<Key> = self
            .facts
            .iter()
            .filter(|(key, facts)| {
                scope.is_none_or(|ns| *key.namespace == *ns)
                    && self.is_watched(facts)
                    && !self.is_present(key)
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in &gone {
            self.forget(key);
            // It may have been written after the list was made: a read tells.
            self.strangers.note(key);
        }
        gone
    }

    /// Stores facts unless newer ones are there; says whether it did.
    pub(super) fn store(&mut self, key: &Key, facts: Arc<SecretFacts>) -> bool {
        if let Some(known) = self.facts.get(key)
            // A former Secret of this name has lower versions, too.
            && version(&known.resource_version) > version(&facts.resource_version)
        {
            return false;
        }
        self.forget(key);
        if let Some(controller) = facts.controller.as_ref().filter(|c| c.credential().is_some()) {
            // Nearly always it is the only one.
            let owned =
                self.by_controller.entry(controller.uid.clone()).or_insert_with(|| Vec::with_capacity(1));
            if let Err(place) = owned.binary_search(key) {
                owned.insert(place, key.clone());
            }
        }
        self.facts.insert(key.clone(), facts);
        true
    }

    /// What was read of it is in doubt, since a list does not show it: a read tells.
    pub(super) fn unshown(&mut self, key: &Key, facts: &Arc<SecretFacts>) {
        if self.is_watched(facts) {
            self.strangers.note(key);
        } else {
            // No list ever shows it.
            self.store(key, facts.clone());
        }
    }

    /// No resource names it any more.
    pub(super) fn unnamed(&mut self, key: &Key) {
        if self.facts.get(key).is_some_and(|f| !self.keeps(f)) {
            self.facts.remove(key);
            self.strangers.note(key);
        }
    }

    /// What the watches have told of it.
    pub(super) fn known(&self, key: &Key) -> Known {
        match self.facts.get(key) {
            Some(facts) => self.as_read(facts.clone()),
            None if self.by_label => Known::Unwatched(None),
            None if self.strangers.may_hold(key) => Known::Present,
            None => Known::Absent,
        }
    }

    /// What a read that returned these facts makes known.
    pub(super) fn as_read(&self, facts: Arc<SecretFacts>) -> Known {
        if self.is_watched(&facts) { Known::Facts(facts) } else { Known::Unwatched(Some(facts)) }
    }

    /// A read found none, and what is known is older.
    pub(super) fn missing(&mut self, key: &Key) {
        if self.facts.get(key).is_some_and(|facts| self.is_watched(facts)) {
            self.forget(key);
            // Should it be there again before a watch tells, a read does.
            self.strangers.note(key);
        }
    }

    /// What a read that found none makes known.
    pub(super) fn as_missing(&mut self, key: &Key) -> Known {
        if !self.by_label {
            return if self.strangers.may_hold(key) { Known::Present } else { Known::Absent };
        }
        if self.facts.get(key).is_some_and(|facts| !self.is_watched(facts)) {
            self.forget(key);
        }
        Known::Unwatched(None)
    }

    pub(super) fn facts(&self, key: &Key) -> Option<&Arc<SecretFacts>> {
        self.facts.get(key)
    }

    /// Those that the resource of this uid controls.
    pub(super) fn controlled_by(&self, uid: &str) -> impl Iterator<Item = (&Key, &Arc<SecretFacts>)> {
        let keys = self.by_controller.get(uid).into_iter().flatten();
        keys.filter_map(|key| self.facts.get_key_value(key))
    }

    /// A watch shows, or is about to show, a Secret of which this was read.
    fn is_watched(&self, facts: &SecretFacts) -> bool {
        !self.by_label || facts.labelled()
    }

    /// These facts are kept although no resource names the Secret.
    fn keeps(&self, facts: &SecretFacts) -> bool {
        controlled_by_credential(facts) || self.by_label && facts.labelled()
    }

    fn forget(&mut self, key: &Key) {
        let Some(facts) = self.facts.remove(key) else {
            return;
        };
        if let Some(controller) = &facts.controller
            && let Some(owned) = self.by_controller.get_mut(&controller.uid)
        {
            owned.retain(|other| other != key);
            if owned.is_empty() {
                self.by_controller.remove(&controller.uid);
            }
        }
    }

    /// A watch shows it.
    pub(super) fn is_present(&self, key: &Key) -> bool {
        self.present.values().any(|names| names.contains(key))
    }
}

fn controlled_by_credential(facts: &SecretFacts) -> bool {
    facts.controller.as_ref().is_some_and(|c| c.credential().is_some())
}
