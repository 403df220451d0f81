//! The first room: reads what this resource needs, now, and nothing else. Talks to the API server: one GET of
//! the source, and one of the target only where its metadata alone does not tell enough.

use std::{collections::BTreeSet, sync::Arc};

use kube::Client;
use zeroize::Zeroizing;

use super::{Credential, Input, Known};
use crate::{
    api::CreationPolicy,
    secret::{SecretFacts, api, render},
    squadcast::{Fingerprint, InvalidRefreshToken, Moment, RefreshToken},
};

/// The refresh token, or what is wrong with it.
pub enum Source {
    /// Nobody needs it now.
    Unread,
    /// The Secret does not exist.
    Missing,
    /// The Secret lacks the label that `--require-source-label` asks for, or does not exist: without the label
    /// the two are not told apart.
    NotAllowed(Option<Arc<SecretFacts>>),
    /// The Secret lacks the key; these are the ones that it has.
    KeyMissing(Vec<String>, Option<Arc<SecretFacts>>),
    /// The value is no refresh token.
    Invalid(InvalidRefreshToken, Option<Arc<SecretFacts>>),
    /// Here it is.
    Found(FoundToken),
}

/// A refresh token and the Secret that it was read from.
pub struct FoundToken {
    /// The token.
    pub token: RefreshToken,
    /// Of the region and the token.
    pub fingerprint: Fingerprint,
    /// The Secret's data cannot be changed.
    pub immutable: bool,
    /// The value as it stands, white space included: what a write-back replaces.
    pub raw: Zeroizing<Vec<u8>>,
    /// What the Secret's metadata tells.
    pub facts: Arc<SecretFacts>,
}

/// The Secret to write.
pub enum Target {
    /// There is none.
    Absent,
    /// There is one.
    Present {
        /// What its metadata tells.
        facts: Arc<SecretFacts>,
        /// What its data tells, where it had to be read.
        content: Option<Content>,
    },
}

/// What only the Secret itself tells.
pub struct Content {
    /// Its data cannot be changed.
    pub immutable: bool,
    /// The data that the operator wrote is still as it wrote it.
    pub ours: bool,
    /// All keys.
    pub keys: BTreeSet<String>,
}

/// What was seen.
pub struct Observation {
    /// The refresh token.
    pub source: Source,
    /// The Secret to write.
    pub target: Target,
    /// The watches show only labelled Secrets.
    pub by_label: bool,
    /// After all that may call for a token was seen, and before the refresh token was read.
    pub since: Moment,
}

impl Observation {
    /// The refresh token's fingerprint, where there is a token.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        match &self.source {
            Source::Found(found) => Some(found.fingerprint),
            _ => None,
        }
    }
}

impl Target {
    /// What its metadata tells.
    pub fn facts(&self) -> Option<&Arc<SecretFacts>> {
        match self {
            Self::Absent => None,
            Self::Present { facts, .. } => Some(facts),
        }
    }

    /// The data that the operator wrote has been changed by somebody else.
    pub fn edited(&self) -> bool {
        matches!(self, Self::Present { content: Some(content), .. } if !content.ours)
    }
}

/// Reads target and source, in this order: what calls for a token is seen before the moment, the refresh token after it.
pub async fn observe(
    client: &Client,
    input: &Input,
    label_required: bool,
    moment: impl FnOnce() -> Moment,
) -> Result<Observation, kube::Error> {
    let credential = &input.credential;
    let target = read_target(client, credential, &input.target).await?;
    let since = moment();
    let source = if credential.spec.suspend {
        // Nothing is sent, so the refresh token need not be known; what the target holds is still told.
        Source::Unread
    } else {
        read_source(client, credential, &input.source, label_required).await?
    };
    Ok(Observation { source, target, by_label: label_required, since })
}

async fn read_source(
    client: &Client,
    credential: &Credential,
    known: &Known,
    label_required: bool,
) -> Result<Source, kube::Error> {
    let key = credential.source();
    // Where the label is required, the watches tell who carries it: of any other Secret no data is read.
    match known {
        Known::Absent if label_required => return Ok(Source::Missing),
        Known::Unwatched(_) => return Ok(Source::NotAllowed(None)),
        Known::Facts(facts) if label_required && !facts.source_allowed => {
            return Ok(Source::NotAllowed(Some(facts.clone())));
        }
        // The watch on resources may be ahead of the one on Secrets: both are often created together.
        Known::Absent | Known::Present | Known::Facts(_) => {}
    }
    let Some(secret) = api::get(client, key.namespace(), key.name()).await? else {
        // Gone since the watch told of it. What the watch will make of that is told at once.
        return Ok(if label_required { Source::NotAllowed(None) } else { Source::Missing });
    };
    let facts = Arc::new(secret.facts().clone());
    if label_required && !facts.source_allowed {
        return Ok(Source::NotAllowed(Some(facts)));
    }
    let data_key = &credential.spec.refresh_token_secret_ref.key;
    let Some(value) = secret.value(data_key) else {
        return Ok(Source::KeyMissing(secret.keys().map(str::to_owned).collect(), Some(facts)));
    };
    Ok(match RefreshToken::parse(value) {
        Err(error) => Source::Invalid(error, Some(facts)),
        Ok(token) => Source::Found(FoundToken {
            fingerprint: token.fingerprint(&credential.spec.region),
            immutable: secret.immutable(),
            token,
            raw: Zeroizing::new(value.to_vec()),
            facts,
        }),
    })
}

/// Metadata alone tells enough of a Secret that the operator wrote, that nobody has touched since, and whose
/// `immutable` nobody has set.
fn needs_data(credential: &Credential, facts: &SecretFacts) -> bool {
    // A key that it did not write before may be somebody's.
    let merges_anew = credential.spec.target.creation_policy == CreationPolicy::Merge
        && render::keys(credential.spec.target.template.as_ref())
            .into_iter()
            .any(|key| !facts.managed.data.contains(key));
    !facts.written_by_us() || !facts.untouched || facts.immutable_set || merges_anew
}

async fn read_target(client: &Client, credential: &Credential, known: &Known) -> Result<Target, kube::Error> {
    match known {
        Known::Absent => return Ok(Target::Absent),
        Known::Facts(facts) if !needs_data(credential, facts) => {
            return Ok(Target::Present { facts: facts.clone(), content: None });
        }
        Known::Present | Known::Facts(_) | Known::Unwatched(_) => {}
    }
    let key = credential.target();
    let Some(secret) = api::get(client, key.namespace(), key.name()).await? else {
        return Ok(Target::Absent);
    };
    let content = Content {
        immutable: secret.immutable(),
        ours: secret.facts().token.is_none() || secret.data_is_ours(),
        keys: secret.keys().map(str::to_owned).collect(),
    };
    Ok(Target::Present { facts: Arc::new(secret.into_meta().facts), content: Some(content) })
}
