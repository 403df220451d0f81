//! Everything about a resource and its surroundings whose change calls for a reconcile. Pure.

use super::version;
use crate::reconcile::{Input, Known};

/// What a reconcile saw, or would see now.
#[derive(Hash)]
pub(super) struct Signature<'a> {
    uid: &'a str,
    generation: i64,
    deleting: bool,
    renew_request: Option<&'a str>,
    source: Version<'a>,
    target: Version<'a>,
    rival: Option<&'a str>,
}

impl<'a> Signature<'a> {
    pub(super) fn of(input: &'a Input) -> Self {
        let credential = &input.credential;
        Self {
            uid: &credential.uid,
            generation: credential.generation,
            deleting: credential.deleting,
            renew_request: credential.renew_request.as_deref(),
            source: Version::of(&input.source),
            target: Version::of(&input.target),
            rival: input.rival.as_deref(),
        }
    }
}

/// Which version of a Secret.
#[derive(PartialEq, Eq, Hash)]
enum Version<'a> {
    Absent,
    /// Of unknown version, if it is there at all.
    Unknown,
    Of(&'a str, &'a str),
}

impl<'a> Version<'a> {
    fn of(known: &'a Known) -> Self {
        match known {
            Known::Absent => Self::Absent,
            Known::Present | Known::Unwatched(_) => Self::Unknown,
            Known::Facts(facts) => Self::Of(&facts.uid, &facts.resource_version),
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
