//! Everything about a resource and its surroundings whose change calls for a reconcile. Pure.

use std::sync::Arc;

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
pub(super) enum Version {
    Absent,
    /// Of unknown version, if it is there at all.
    Unknown,
    Of(Box<str>, Box<str>),
}

impl Version {
    pub(super) fn of(known: &Known) -> Self {
        match known {
            Known::Absent => Self::Absent,
            Known::Present | Known::Unwatched(_) => Self::Unknown,
            Known::Facts(facts) => Self::Of(facts.uid.clone(), facts.resource_version.clone()),
        }
    }

    pub(super) fn unchanged_since(&self, before: &Self) -> bool {
        self == before || matches!((self, before), (Self::Of(..), Self::Unknown))
    }
}
