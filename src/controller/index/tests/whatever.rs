//! Whatever happens: what the index keeps beside a packed value is what that says, and whoever would see another world
//! than at the last reconcile has been woken.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use proptest::{collection, option, prelude::*};

use super::*;
use crate::{
    api::RefreshTokenRotation,
    controller::index::{
        FEW,
        signature::{Version, of_resource, of_uid},
        version,
    },
    ops::metrics::CredentialSample,
};

/// What may happen, to one of a few names.
#[derive(Clone, Debug)]
enum Step {
    Resource {
        name: usize,
        uid: u8,
        source: usize,
        target: usize,
        rewrite: bool,
        more: u8,
    },
    Undecodable(usize),
    ResourceGone(usize),
    ResourcesListed(Vec<usize>),
    Secret {
        name: usize,
        owner: Option<(usize, u8)>,
        uid: u8,
    },
    /// Or its label.
    SecretGone(usize),
    SecretsListed(Vec<usize>),
    /// A reconcile from beginning to end, which learns nothing that the watches have not told.
    Reconciled(usize),
    /// A reconcile that comes to no end, alone or with all others.
    GivenUp(usize, bool),
    /// A reconcile that writes its target while something else happens. The watch tells of what it wrote before it
    /// knows so itself, or after it has ended.
    Writes {
        name: usize,
        told_first: bool,
        meanwhile: Box<Step>,
    },
}

const RESOURCES: [&str; 4] = ["a", "b", "c", "d"];
const SECRETS: [&str; 4] = ["s", "t", "u", "v"];

fn step() -> impl Strategy<Value = Step> {
    let few = || 0..4usize;
    prop_oneof![
        4 => (few(), 0..2u8, few(), few(), any::<bool>(), 0..8u8).prop_map(
            |(name, uid, source, target, rewrite, more)| Step::Resource { name, uid, source, target, rewrite, more }
        ),
        1 => few().prop_map(Step::Undecodable),
        1 => few().prop_map(Step::ResourceGone),
        1 => collection::vec(few(), 0..4).prop_map(Step::ResourcesListed),
        4 => (few(), option::of((few(), 0..2u8)), 0..2u8)
            .prop_map(|(name, owner, uid)| Step::Secret { name, owner, uid }),
        1 => few().prop_map(Step::SecretGone),
        1 => collection::vec(few(), 0..4).prop_map(Step::SecretsListed),
        6 => few().prop_map(Step::Reconciled),
    ]
}

fn step_or_write() -> impl Strategy<Value = Step> {
    let writes = (0..4usize, any::<bool>(), step()).prop_map(|(name, told_first, meanwhile)| Step::Writes {
        name,
        told_first,
        meanwhile: Box::new(meanwhile),
    });
    prop_oneof![4 => step(), 1 => writes, 1 => (0..4usize, any::<bool>()).prop_map(|(name, all)| Step::GivenUp(name, all))]
}

/// An index, what the watches last showed, and who has been woken since its last reconcile.
struct World {
    /// The watch shows only what carries a label.
    by_label: bool,
    index: Index,
    resources: HashMap<usize, Credential>,
    secrets: HashMap<usize, SecretMeta>,
    woken: HashSet<Key>,
}

impl World {
    fn new(by_label: bool) -> Self {
        let mut index = Index::new(by_label);
        // A name that shares its bit with one that is noted later would be seen in another way from then on.
        for name in SECRETS {
            index.apply_secret(0, &plain(name, 0));
        }
        Self { by_label, index, resources: HashMap::new(), secrets: HashMap::new(), woken: HashSet::new() }
    }

    fn resource(
        name: usize,
        uid: u8,
        [source, target]: [usize; 2],
        rewrite: bool,
        more: u8,
        at: u64,
    ) -> Credential {
        let mut made = credential(RESOURCES[name], SECRETS[source], SECRETS[target], at);
        made.uid = format!("uid-{}-{uid}", RESOURCES[name]).into();
        made.created = Timestamp::from_second(i64::from(uid)).unwrap();
        made.status.failures = Some(more.into());
        (made.deleting, made.generation) = (more & 2 != 0, i64::from(more));
        if rewrite {
            made.spec.refresh_token_rotation = RefreshTokenRotation::WriteBack;
        }
        made
    }

    fn step(&mut self, step: Step, at: u64) {
        let index = &mut self.index;
        let woken = match step {
            Step::Resource { name, uid, source, target, rewrite, more } => {
                let made = Self::resource(name, uid, [source, target], rewrite, more, at);
                let woken = index.apply_credential(0, &made);
                self.resources.insert(name, made);
                woken
            }
            Step::Undecodable(name) => {
                self.resources.remove(&name);
                index.undecodable(0, &key(RESOURCES[name])).unwrap_or_default()
            }
            Step::ResourceGone(name) => {
                self.resources.remove(&name);
                index.delete_credential(&key(RESOURCES[name]))
            }
            Step::ResourcesListed(shown) => {
                index.relist_credentials(0);
                self.resources.retain(|name, _| shown.contains(name));
                let mut woken = Vec::new();
                for resource in self.resources.values() {
                    woken.extend(index.apply_credential(0, resource));
                }
                woken.extend(index.credentials_listed(0));
                woken
            }
            Step::Secret { name, owner, uid } => {
                let mut made = owner.map_or_else(
                    || plain(SECRETS[name], at),
                    |(by, uid)| {
                        let mut made = owned(SECRETS[name], at, RESOURCES[by]);
                        let owner = made.facts.controller.as_mut().unwrap();
                        owner.uid = format!("uid-{}-{uid}", RESOURCES[by]).into();
                        made
                    },
                );
                made.facts.uid = format!("uid-{uid}").into();
                made.facts.managed_by_us = self.by_label;
                let woken = index.apply_secret(0, &made);
                self.secrets.insert(name, made);
                woken
            }
            Step::SecretGone(name) => {
                self.secrets.remove(&name);
                index.delete_secret(0, &key(SECRETS[name]), &at.to_string())
            }
            Step::SecretsListed(shown) => {
                index.relist_secrets(0);
                self.secrets.retain(|name, _| shown.contains(name));
                let mut woken = Vec::new();
                for secret in self.secrets.values() {
                    woken.extend(index.apply_secret(0, secret));
                }
                woken.extend(index.secrets_listed(0, None));
                woken
            }
            Step::Reconciled(name) => {
                let key = key(RESOURCES[name]);
                if let Some(input) = index.input(&key) {
                    assert!(!index.finish(&key, &input, Learned::default()), "nothing has happened since");
                    self.woken.remove(&key);
                }
                Vec::new()
            }
            Step::GivenUp(name, with_all_others) => {
                let key = key(RESOURCES[name]);
                if index.input(&key).is_some() {
                    assert!(index.at_work.contains_key(&key));
                    if with_all_others { index.all_gave_up() } else { index.gave_up(&key) }
                }
                Vec::new()
            }
            Step::Writes { name, told_first, meanwhile } => {
                return self.write(name, told_first, *meanwhile, at);
            }
        };
        self.woken.extend(woken);
    }

    fn write(&mut self, name: usize, told_first: bool, meanwhile: Step, at: u64) {
        let resource = key(RESOURCES[name]);
        let Some(input) = self.index.input(&resource) else { return };
        let target = SECRETS.iter().position(|secret| *secret == input.credential.target().name()).unwrap();
        let mut written = owned(SECRETS[target], at, RESOURCES[name]);
        written.facts.controller.as_mut().unwrap().uid = input.credential.uid.clone();
        written.facts.managed_by_us = self.by_label;
        let mut status = input.credential.status.clone();
        status.last_renewed_at = Some(Timestamp::from_second(0).unwrap());
        let learned = Learned {
            secrets: vec![(key(SECRETS[target]), Some(facts(written.clone())))],
            status: Some((at.to_string().into(), status)),
        };
        let tell = |world: &mut Self| {
            let woken = world.index.apply_secret(0, &written);
            world.woken.extend(woken);
            world.secrets.insert(target, written.clone());
        };
        // A watch tells of Secrets in their order.
        let of_secrets =
            matches!(meanwhile, Step::Secret { .. } | Step::SecretGone(_) | Step::SecretsListed(_));
        // One resource is never reconciled twice at once.
        let of_its_own = matches!(meanwhile, Step::Reconciled(other) if other == name);
        if told_first {
            tell(self);
        }
        if !of_its_own && (told_first || !of_secrets) {
            self.step(meanwhile, at + 1);
        }
        if self.index.finish(&resource, &input, learned) {
            self.woken.insert(resource);
        } else {
            self.woken.remove(&resource);
        }
        if !told_first {
            tell(self);
        }
    }

    fn check(&self) {
        let index = &self.index;
        let mut by_secret: HashMap<Key, HashSet<Key>> = HashMap::new();
        let mut write_backs = 0;
        assert_eq!(index.credentials.len(), self.resources.len());
        for (key, entry) in &index.credentials {
            let value = entry.credential(key).unwrap();
            assert_eq!(*key, value.key);
            assert_eq!((&entry.source, &entry.target), (&value.source(), &value.target()));
            assert_eq!((entry.created, entry.deleting), (value.created.as_second(), value.deleting));
            assert_eq!(entry.uid, of_uid(&index.hasher, &value.uid));
            assert_eq!(entry.resource_version, version(&value.resource_version));
            assert_eq!(entry.signature, of_resource(&index.hasher, &value));
            assert_eq!(format!("{:?}", entry.sample), format!("{:?}", CredentialSample::of(&value.status)));
            for secret in [&entry.source, &entry.target] {
                by_secret.entry(secret.clone()).or_default().insert(key.clone());
                let known = index.secrets.known(secret);
                assert!(index.secrets.version(secret) == Version::of(&index.hasher, &known));
            }
            write_backs += usize::from(
                value.spec.refresh_token_rotation == RefreshTokenRotation::WriteBack && !value.deleting,
            );
            let sees_news = entry.seen.is_none_or(|seen| index.signature(key) != Some(seen));
            assert!(
                !sees_news || self.woken.contains(key),
                "{key} sees what it has not seen, and was not woken"
            );
        }
        let held =
            index.by_secret.iter().map(|(secret, who)| (secret.clone(), who.iter().cloned().collect()));
        assert_eq!(held.collect::<HashMap<Key, HashSet<Key>>>(), by_secret);
        assert_eq!(index.write_backs.values().sum::<usize>(), write_backs);
        assert!(index.at_work.is_empty() && index.at_work.capacity() < 2 * FEW);
        assert!(index.departed.keys().all(|key| index.credentials.contains_key(key)));
        // A Secret that nobody named when it was shown is not kept, unless a resource controls it.
        for (number, secret) in &self.secrets {
            let Some(owner) = &secret.facts.controller else { continue };
            let controlled = index.secrets.controlled_by(&owner.uid, |_| true);
            let controlled: Vec<_> =
                controlled.into_iter().filter(|(k, _)| *k == key(SECRETS[*number])).collect();
            assert_eq!(controlled, [(key(SECRETS[*number]), secret.facts.clone())]);
        }
    }
}

proptest! {
    #[test]
    fn what_is_kept_is_true_and_nobody_misses_news(
        by_label in any::<bool>(), steps in collection::vec(step_or_write(), 0..40),
    ) {
        let mut world = World::new(by_label);
        for (number, step) in steps.into_iter().enumerate() {
            world.step(step, 10 * (1 + number as u64));
            world.check();
        }
    }
}
