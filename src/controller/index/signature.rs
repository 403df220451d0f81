//! Everything about a resource and its surroundings whose change calls for a reconcile. Pure.

use std::sync::Arc;

use super::version;
use crate::reconcile::{Input, Known};

/// What a reconcile saw, or would see now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signature {
    uid: Box<str>,
    generation: i64,
    deleting: bool,
    renew_request: Option<Box<str>>,
    source: Version,
    target: Version,
    rival: Option<Arc<str>>,
}

impl Signature {
    pub(super) fn of(input: &Input) -> Self {
        let credential = &input.credential;
        Self {
            uid: credential.uid.clone(),
            generation: credential.generation,
            deleting: credential.deleting,
            renew_request: credential.renew_request.clone(),
            source: Version::of(&input.source),
            target: Version::of(&input.target),
            rival: input.rival.clone(),
        }
    }
}

/// Which version of a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Version {
    Absent,
    /// Of unknown version, if it is there at all.
    Unknown,
    Of(Box<str>, Box<str>),
}

impl Version {
    fn of(known: &Known) -> Self {
        match known {
            Known::Absent => Self::Absent,
            Known::Present | Known::Unwatched(_) => Self::Unknown,
            Known::Facts(facts) => Self::Of(facts.uid.clone(), facts.resource_version.clone()),
        }
    }
}

/// Whether what is known of a Secret is no news to one who has read it.
pub(super) fn still_as_read(known: &Known, read: &Known) -> bool {
    match (known, read) {
        (Known::Facts(known), Known::Facts(read)) => {
            // The watch may not have come as far as the read had.
            known.uid == read.uid && version(&known.resource_version) <= version(&read.resource_version)
        }
        _ => match Version::of(known) {
            // The watch has told nothing of it since.
            Version::Unknown => true,
            told => told == Version::of(read),
        },
    }
}
