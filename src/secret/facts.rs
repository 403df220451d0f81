//! What the operator keeps of a Secret: its metadata's story about itself, never its data.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::core::Resource;
use serde::{Deserialize, Deserializer, Serialize};

use super::metadata::{DataFields, Entry, Metadata};
use crate::{
    api::{names, uid},
    schedule::Life,
    squadcast::Fingerprint,
};

/// Which keys, labels and annotations the operator wrote: the annotation `managed`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Managed {
    /// Keys of the data.
    pub data: BTreeSet<String>,
    /// Labels, beside the operator's own two.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub labels: BTreeSet<String>,
    /// Annotations, beside the operator's own.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub annotations: BTreeSet<String>,
}

/// What the annotations of a target tell of its token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// By this cluster's clock: the annotations hold Squadcast's, and the skew between the two.
    pub life: Life,
    /// Of region and refresh token.
    pub fingerprint: Fingerprint,
    /// Over the data that the operator wrote.
    pub data_hash: Box<str>,
    /// Region, a dot, and a hash over what the data was rendered from.
    pub template_hash: Box<str>,
}

impl Token {
    /// The region for which the token was issued.
    pub fn region(&self) -> &str {
        self.template_hash.split_once('.').map_or("", |(region, _)| region)
    }
}

/// The controller among a Secret's owners.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControllerRef {
    /// Uid of the owner.
    #[serde(with = "uid")]
    pub uid: Arc<str>,
    name: Box<str>,
    /// Where it is no `SquadcastCredential`.
    foreign_kind: Option<Box<str>>,
}

impl ControllerRef {
    /// `Kind "name"`, for messages.
    pub fn described(&self) -> String {
        format!("{} \"{}\"", self.foreign_kind.as_deref().unwrap_or(names::KIND), self.name)
    }

    /// The name, where the owner is a `SquadcastCredential`.
    pub fn credential(&self) -> Option<&str> {
        self.foreign_kind.is_none().then_some(&*self.name)
    }
}

impl From<OwnerReference> for ControllerRef {
    fn from(owner: OwnerReference) -> Self {
        let ours = owner.kind == names::KIND
            && owner.api_version.split_once('/').is_some_and(|(group, _)| group == names::GROUP);
        Self {
            uid: owner.uid.into(),
            name: owner.name.into(),
            foreign_kind: (!ours).then(|| owner.kind.into()),
        }
    }
}

/// What is known of a Secret from its metadata.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools, reason = "each is an answer of its own that a Secret gives")]
pub struct SecretFacts {
    /// Uid, a precondition of every write.
    #[serde(with = "uid")]
    pub uid: Box<str>,
    /// Resource version, the other precondition.
    pub resource_version: Box<str>,
    /// It has a deletion timestamp.
    pub deleting: bool,
    /// The owner that controls it.
    pub controller: Option<ControllerRef>,
    /// Owners other than the controller; kept when owner references are written.
    pub other_owners: Vec<OwnerReference>,
    /// Label `app.kubernetes.io/managed-by` is ours.
    pub managed_by_us: bool,
    /// Label `credentials.squadcast.com/credential`.
    pub credential: Option<Box<str>>,
    /// Label that allows it to be read as a source.
    pub source_allowed: bool,
    /// Annotation that hands it over to a resource.
    pub allow_write_by: Option<Box<str>>,
    /// Its token, where the annotations tell of one.
    pub token: Option<Token>,
    /// What the operator wrote.
    pub managed: Managed,
    /// Labels and annotations that the operator wrote, with their values as they are now.
    pub managed_metadata: BTreeMap<String, String>,
    /// All keys that the operator wrote are still as it wrote them, as far as the API server's own record of
    /// field managers tells. Where it does not, the data must be read to know.
    pub untouched: bool,
    /// Somebody else who has set a key of the data or made the Secret immutable.
    pub other_manager: Option<Box<str>>,
    /// Somebody has set `immutable`; whether to true only the Secret itself tells.
    pub immutable_set: bool,
}

/// A Secret as watches and writes return it: metadata only, reduced to facts on receipt, so that other
/// people's annotations (`last-applied-configuration` holds secret data) are dropped at once.
#[derive(Clone, Debug)]
pub struct SecretMeta {
    /// Name, namespace and resource version: what a watch needs.
    metadata: ObjectMeta,
    /// The facts.
    pub facts: SecretFacts,
}

impl SecretMeta {
    /// Namespace of the Secret.
    pub fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// Name of the Secret.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }
}

impl From<Metadata> for SecretMeta {
    fn from(metadata: Metadata) -> Self {
        let Metadata {
            name,
            namespace,
            uid,
            resource_version,
            deletion_timestamp,
            owner_references,
            labels,
            annotations,
            managed_fields,
        } = metadata;
        let facts = SecretFacts::new(
            uid.unwrap_or_default(),
            resource_version.clone().unwrap_or_default(),
            deletion_timestamp.is_some(),
            owner_references.unwrap_or_default(),
            &labels.unwrap_or_default(),
            &annotations.unwrap_or_default(),
            &managed_fields.unwrap_or_default(),
        );
        Self { metadata: ObjectMeta { name, namespace, resource_version, ..ObjectMeta::default() }, facts }
    }
}

impl<'de> Deserialize<'de> for SecretMeta {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Envelope {
            #[serde(default)]
            metadata: Metadata,
        }
        Envelope::deserialize(deserializer).map(|e| e.metadata.into())
    }
}

impl Resource for SecretMeta {
    type DynamicType = ();
    type Scope = k8s_openapi::NamespaceResourceScope;

    fn kind((): &()) -> std::borrow::Cow<'_, str> {
        "Secret".into()
    }

    fn group((): &()) -> std::borrow::Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> std::borrow::Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> std::borrow::Cow<'_, str> {
        "secrets".into()
    }

    fn metadata_api() -> bool {
        true
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

type Map = BTreeMap<String, String>;

impl SecretFacts {
    fn new(
        uid: String,
        resource_version: String,
        deleting: bool,
        owners: Vec<OwnerReference>,
        labels: &Map,
        annotations: &Map,
        managed_fields: &[Entry],
    ) -> Self {
        let managed: Managed = annotations
            .get(names::ANNOTATION_MANAGED)
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default();
        let (controllers, other_owners): (Vec<_>, Vec<_>) =
            owners.into_iter().partition(|o| o.controller == Some(true));
        let fields = DataFields::read(managed_fields, &managed.data);
        let managed_metadata = managed
            .labels
            .iter()
            .filter_map(|k| Some((label_key(k), labels.get(k)?.clone())))
            .chain(
                managed
                    .annotations
                    .iter()
                    .filter_map(|k| Some((annotation_key(k), annotations.get(k)?.clone()))),
            )
            .collect();
        Self {
            uid: uid.into(),
            resource_version: resource_version.into(),
            deleting,
            controller: controllers.into_iter().next().map(Into::into),
            other_owners,
            managed_by_us: labels.get(names::LABEL_MANAGED_BY).is_some_and(|v| v == names::FIELD_MANAGER),
            credential: labels.get(names::LABEL_CREDENTIAL).map(|v| v.as_str().into()),
            source_allowed: labels.get(names::LABEL_REFRESH_TOKEN).is_some_and(|v| v == "true"),
            allow_write_by: annotations.get(names::ANNOTATION_ALLOW_WRITE).map(|v| v.as_str().into()),
            token: read_token(annotations),
            managed,
            managed_metadata,
            untouched: fields.untouched,
            other_manager: fields.other_manager,
            immutable_set: fields.immutable_set,
        }
    }

    /// It carries a label by which the watches find it where they show only labelled Secrets.
    pub fn labelled(&self) -> bool {
        self.source_allowed || self.managed_by_us
    }

    /// The annotation `managed` lists at least one key: the operator has written data here.
    pub fn written_by_us(&self) -> bool {
        !self.managed.data.is_empty()
    }
}

/// Key of a label in [`SecretFacts::managed_metadata`].
pub fn label_key(key: &str) -> String {
    format!("l:{key}")
}

/// Key of an annotation in [`SecretFacts::managed_metadata`].
pub fn annotation_key(key: &str) -> String {
    format!("a:{key}")
}

fn read_token(annotations: &Map) -> Option<Token> {
    let get = |key: &str| annotations.get(key).map(String::as_str);
    let skew = get(names::ANNOTATION_CLOCK_SKEW).map_or(Some(0), |text| text.parse::<i64>().ok())?;
    let instant = |key: &str| {
        let at = get(key)?.parse::<Timestamp>().ok()?;
        Timestamp::from_second(at.as_second().checked_sub(skew)?).ok()
    };
    Some(Token {
        life: Life {
            issued: instant(names::ANNOTATION_ISSUED_AT)?,
            expires: instant(names::ANNOTATION_EXPIRES_AT)?,
        },
        fingerprint: Fingerprint::parse(get(names::ANNOTATION_FINGERPRINT)?)?,
        data_hash: get(names::ANNOTATION_DATA_HASH)?.into(),
        template_hash: get(names::ANNOTATION_TEMPLATE_HASH)?.into(),
    })
}
