//! What a reconcile learned of the cluster on its way: the index knows it at once, and need not wait for the watches.

use std::sync::Arc;

use super::{Acted, Credential, Observation, Source};
use crate::{
    api::{Key, SquadcastCredentialStatus},
    secret::SecretFacts,
};

/// What a reconcile learned of the cluster.
#[derive(Default)]
pub struct Learned {
    /// Secrets as a read or a write returned them; `None` where there was none.
    pub secrets: Vec<(Key, Option<Arc<SecretFacts>>)>,
    /// Resource version and status of the resource, as its last write left them.
    pub status: Option<(Box<str>, SquadcastCredentialStatus)>,
}

impl Learned {
    /// Notes what was read.
    pub(super) fn read(&mut self, credential: &Credential, seen: &Observation) {
        match &seen.source {
            Source::Unread => {}
            Source::Missing => self.secrets.push((credential.source(), None)),
            Source::NotAllowed(facts) | Source::KeyMissing(_, facts) | Source::Invalid(_, facts) => {
                self.secrets.push((credential.source(), facts.clone()));
            }
            Source::Found(found) => self.secrets.push((credential.source(), Some(found.facts.clone()))),
        }
        self.secrets.push((credential.target(), seen.target.facts().cloned()));
    }

    /// Notes what was written.
    pub(super) fn wrote(&mut self, credential: &Credential, acted: &Acted) {
        let (target, source) = match acted {
            Acted::Issued(issued) => (Some(&issued.target), issued.source.as_ref()),
            Acted::Rewritten(target) => (Some(&**target), None),
            _ => (None, None),
        };
        for (key, meta) in [(credential.target(), target), (credential.source(), source)] {
            if let Some(meta) = meta {
                self.secrets.retain(|(k, _)| *k != key);
                self.secrets.push((key, Some(Arc::new(meta.facts.clone()))));
            }
        }
    }
}
