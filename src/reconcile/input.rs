//! What a reconcile starts from: one resource and what the watches have told of the Secrets that it names.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    api::{Key, SquadcastCredential, SquadcastCredentialSpec, SquadcastCredentialStatus, names, uid},
    schedule::RenewalPolicy,
    secret::SecretFacts,
    squadcast::Line,
};

/// A resource as the watch told it, without what the operator does not need. Serialized, it is
/// without its name, its age and what the operator writes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Credential {
    /// Namespace and name.
    #[serde(skip)]
    pub key: Key,
    /// Uid.
    #[serde(with = "uid")]
    pub uid: Arc<str>,
    /// Resource version, the precondition of the status patch.
    #[serde(skip)]
    pub resource_version: Box<str>,
    /// Counts changes of the spec.
    pub generation: i64,
    /// When it was created: the older of two that name one target wins.
    #[serde(skip)]
    pub created: Timestamp,
    /// It has a deletion timestamp.
    pub deleting: bool,
    /// Value of the annotation `renew-requested-at`.
    pub renew_request: Option<Box<str>>,
    /// The spec.
    pub spec: SquadcastCredentialSpec,
    /// The status in the cluster.
    #[serde(skip)]
    pub status: SquadcastCredentialStatus,
}

impl Credential {
    /// How its token is to be renewed.
    pub fn renewal_policy(&self) -> RenewalPolicy {
        match (self.spec.renew_before, self.spec.renew_before_percentage) {
            (Some(before), _) => RenewalPolicy::Before(before.as_secs()),
            (None, Some(left)) => RenewalPolicy::Percentage(left),
            (None, None) => RenewalPolicy::TwoThirds,
        }
    }

    /// Key of the Secret that holds the refresh token. Today in the resource's own namespace; nothing beyond
    /// this method and [`Self::target`] relies on that.
    pub fn source(&self) -> Key {
        Key::new(self.key.namespace(), &self.spec.refresh_token_secret_ref.name)
    }

    /// Where its refresh token is.
    pub fn line(&self) -> Line {
        let (key, region) = (&self.spec.refresh_token_secret_ref.key, &self.spec.region);
        Line { secret: self.source(), key: key.as_str().into(), region: region.as_str().into() }
    }

    /// Key of the Secret to write.
    pub fn target(&self) -> Key {
        Key::new(self.key.namespace(), &self.spec.target.name)
    }
}

impl From<SquadcastCredential> for Credential {
    fn from(object: SquadcastCredential) -> Self {
        let metadata = object.metadata;
        Self {
            key: Key::new(
                metadata.namespace.as_deref().unwrap_or_default(),
                metadata.name.as_deref().unwrap_or_default(),
            ),
            uid: metadata.uid.unwrap_or_default().into(),
            resource_version: metadata.resource_version.unwrap_or_default().into(),
            generation: metadata.generation.unwrap_or_default(),
            created: metadata.creation_timestamp.map_or(Timestamp::UNIX_EPOCH, |t| t.0),
            deleting: metadata.deletion_timestamp.is_some(),
            renew_request: metadata
                .annotations
                .and_then(|mut a| a.remove(names::ANNOTATION_RENEW))
                .map(Into::into),
            spec: object.spec,
            status: object.status.unwrap_or_default(),
        }
    }
}

/// What the watches have told of a Secret.
#[derive(Clone, Debug, PartialEq)]
pub enum Known {
    /// There is none of this name.
    Absent,
    /// There is one, but nobody needed its facts until now.
    Present,
    /// There is one.
    Facts(Arc<SecretFacts>),
    /// The watches show only labelled Secrets, and not this one: whether it is there only a read tells. What the
    /// last one showed.
    Unwatched(Option<Arc<SecretFacts>>),
}

/// Everything that a reconcile is given.
#[derive(Clone, Debug)]
pub struct Input {
    /// The resource.
    pub credential: Arc<Credential>,
    /// The Secret that holds the refresh token.
    pub source: Known,
    /// The Secret to write.
    pub target: Known,
    /// Another resource that holds, or has the better claim to, the same target.
    pub rival: Option<Box<str>>,
    /// The resource that controls the target is gone or going, and its Secret with it.
    pub holder_leaves: bool,
    /// A refresh token that Squadcast replaces is to be written back: this resource, or another one that reads the
    /// same key of the same Secret for the same region, says `WriteBack`.
    pub writes_back: bool,
    /// Secrets of other names that this resource controls: former targets.
    pub former_targets: Vec<(Key, Arc<SecretFacts>)>,
}
