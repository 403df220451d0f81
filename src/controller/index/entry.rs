//! What the index holds of one resource. Pure.

use std::{hash::RandomState, num::NonZeroU64};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    WatchId,
    packed::Packed,
    signature::{of_resource, of_uid},
    version,
};
use crate::{
    api::{Key, SquadcastCredentialStatus},
    ops::metrics::CredentialSample,
    reconcile::Credential,
};

/// What changes with each status that the operator writes, the rest of the resource staying where it is.
#[derive(PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug))]
pub(super) struct Told {
    pub(super) resource_version: Box<str>,
    pub(super) status: SquadcastCredentialStatus,
}

/// A resource, and what of it is needed often.
pub(super) struct Entry {
    /// The resource without its key, when it was created, and what was told of it.
    pub(super) asked: Packed<Credential>,
    told: Packed<Told>,
    /// The Secrets that it names.
    pub(super) source: Key,
    pub(super) target: Key,
    /// [`of_uid`]
    pub(super) uid: NonZeroU64,
    /// In Unix seconds: an object's time has no fraction (Kubernetes: "API conventions").
    pub(super) created: i64,
    pub(super) resource_version: u64,
    pub(super) deleting: bool,
    /// [`of_resource`]
    pub(super) signature: u64,
    /// What the metrics show of it.
    pub(super) sample: CredentialSample,
    /// The watch that shows it.
    pub(super) watch: WatchId,
    /// A hash over what the last reconcile saw; an event that changes nothing of it wakes nobody.
    pub(super) seen: Option<NonZeroU64>,
}

const _: () = assert!(size_of::<Entry>() <= 152);

impl Entry {
    pub(super) fn new(hasher: &RandomState, watch: WatchId, credential: &Credential) -> Self {
        Self {
            asked: Packed::new(credential),
            told: Packed::new(&Told {
                resource_version: credential.resource_version.clone(),
                status: credential.status.clone(),
            }),
            source: credential.source(),
            target: credential.target(),
            uid: of_uid(hasher, &credential.uid),
            created: credential.created.as_second(),
            resource_version: version(&credential.resource_version),
            deleting: credential.deleting,
            signature: of_resource(hasher, credential),
            sample: CredentialSample::of(&credential.status),
            watch,
            seen: None,
        }
    }

    /// The resource, whose key is not held twice.
    pub(super) fn credential(&self, key: &Key) -> Option<Credential> {
        let Told { resource_version, status } = self.told.unpack()?;
        let asked = self.asked.unpack()?;
        let created = Timestamp::from_second(self.created).ok()?;
        Some(Credential { key: key.clone(), created, resource_version, status, ..asked })
    }

    /// A status was written.
    pub(super) fn wrote(&mut self, resource_version: Box<str>, status: SquadcastCredentialStatus) {
        self.resource_version = version(&resource_version);
        self.sample = CredentialSample::of(&status);
        self.told = Packed::new(&Told { resource_version, status });
    }
}
