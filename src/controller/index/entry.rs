//! What the index holds of one resource. Pure.

use std::{hash::RandomState, num::NonZeroU64, sync::Arc};

use jiff::Timestamp;

use super::{
    WatchId,
    packed::Packed,
    signature::{of_resource, of_uid},
    version,
};
use crate::{api::Key, ops::metrics::CredentialSample, reconcile::Credential};

/// A resource, and what of it is needed often.
pub(super) struct Entry {
    pub(super) credential: Packed<Credential>,
    /// The Secrets that it names.
    pub(super) source: Key,
    pub(super) target: Key,
    /// [`of_uid`]
    pub(super) uid: NonZeroU64,
    pub(super) created: Timestamp,
    pub(super) resource_version: u64,
    pub(super) deleting: bool,
    /// [`of_resource`]
    pub(super) signature: u64,
    /// What the metrics show of it.
    pub(super) sample: CredentialSample,
    /// The watch that shows it.
    pub(super) watch: WatchId,
    /// A hash over what the last reconcile saw; an event that changes nothing of it wakes nobody.
    pub(super) seen: Option<u64>,
    /// Secrets deleted while a reconcile ran, with the version of the deletion: what that reconcile learned of
    /// them before is void.
    pub(super) deleted_meanwhile: Vec<(Key, u64)>,
    /// Uid of the resource that held this one's target and has been deleted.
    pub(super) departed: Option<Arc<str>>,
}

impl Entry {
    pub(super) fn new(hasher: &RandomState, watch: WatchId, credential: &Credential) -> Self {
        Self {
            credential: Packed::new(credential),
            source: credential.source(),
            target: credential.target(),
            uid: of_uid(hasher, &credential.uid),
            created: credential.created,
            resource_version: version(&credential.resource_version),
            deleting: credential.deleting,
            signature: of_resource(hasher, credential),
            sample: CredentialSample::of(&credential.status),
            watch,
            seen: None,
            deleted_meanwhile: Vec::new(),
            departed: None,
        }
    }
}
