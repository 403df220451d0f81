//! Everything about a resource and its surroundings whose change calls for a reconcile. Pure.

use std::{hash::BuildHasher, num::NonZeroU64};

use super::version;
use crate::{
    reconcile::{Credential, Known},
    secret::SecretFacts,
};

/// What a reconcile saw, or would see now.
#[derive(Hash)]
pub(super) struct Signature<'a> {
    /// [`of_resource`]
    pub(super) resource: u64,
    pub(super) source: Version,
    pub(super) target: Version,
    pub(super) rival: Option<&'a str>,
}

impl Signature<'_> {
    /// A hash over all of it.
    pub(super) fn digest(&self, hasher: &impl BuildHasher) -> NonZeroU64 {
        not_zero(hasher.hash_one(self))
    }
}

fn not_zero(hash: u64) -> NonZeroU64 {
    NonZeroU64::new(hash).unwrap_or(NonZeroU64::MIN)
}

/// A hash over what of the resource itself calls for a reconcile: its status does not.
pub(super) fn of_resource(hasher: &impl BuildHasher, credential: &Credential) -> u64 {
    let Credential { uid, generation, deleting, renew_request, .. } = credential;
    hasher.hash_one((uid, generation, deleting, renew_request))
}

/// A hash over the uid of a resource.
pub(super) fn of_uid(hasher: &impl BuildHasher, uid: &str) -> NonZeroU64 {
    not_zero(hasher.hash_one(uid))
}

/// Which version of a Secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Version {
    Absent,
    /// Of unknown version, if it is there at all.
    Unknown,
    /// [`of_secret`]
    Of(u64),
}

impl Version {
    /// Of a Secret of which this is known.
    pub(super) fn of(hasher: &impl BuildHasher, known: &Known) -> Self {
        match known {
            Known::Absent => Self::Absent,
            Known::Present | Known::Unwatched(_) => Self::Unknown,
            Known::Facts(facts) => Self::Of(of_secret(hasher, facts)),
        }
    }
}

/// A hash over which version of a Secret it is.
pub(super) fn of_secret(hasher: &impl BuildHasher, facts: &SecretFacts) -> u64 {
    hasher.hash_one((&facts.uid, &facts.resource_version))
}

/// Whether what is known of a Secret is no news to one who has read it.
pub(super) fn still_as_read(hasher: &impl BuildHasher, known: &Known, read: &Known) -> bool {
    match (known, read) {
        (Known::Facts(known), Known::Facts(read)) => {
            // The watch may not have come as far as the read had.
            known.uid == read.uid && version(&known.resource_version) <= version(&read.resource_version)
        }
        _ => match Version::of(hasher, known) {
            // The watch has told nothing of it since.
            Version::Unknown => true,
            told => told == Version::of(hasher, read),
        },
    }
}
