//! Every name that is part of the interface with users: group, labels, annotations, field manager.

/// API group of the resource; also the prefix of all labels and annotations.
pub const GROUP: &str = "credentials.squadcast.com";
/// Field manager of every write, and name of the reporting controller in events.
pub const FIELD_MANAGER: &str = "squadcast-operator";
/// Kind of the resource.
pub const KIND: &str = "SquadcastCredential";
/// `apiVersion` of the resource.
pub const API_VERSION: &str = "credentials.squadcast.com/v1alpha1";

/// Label on a target: which program keeps it. Value [`FIELD_MANAGER`]. Not under `Merge`.
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Label on a target: the name of its resource. Not under `Merge`.
pub const LABEL_CREDENTIAL: &str = "credentials.squadcast.com/credential";
/// Label on a source that allows it to be read where `--require-source-label` is set. Value `true`.
pub const LABEL_REFRESH_TOKEN: &str = "credentials.squadcast.com/refresh-token";

/// Annotation on a resource: one exchange at once for each new value.
pub const ANNOTATION_RENEW: &str = "credentials.squadcast.com/renew-requested-at";
/// Annotation on somebody's Secret: the resource of this name may write it.
pub const ANNOTATION_ALLOW_WRITE: &str = "credentials.squadcast.com/allow-write-by";

/// Annotation on a target: when its token was issued (RFC 3339, Squadcast's clock).
pub const ANNOTATION_ISSUED_AT: &str = "credentials.squadcast.com/issued-at";
/// Annotation on a target: when its token expires (RFC 3339, Squadcast's clock).
pub const ANNOTATION_EXPIRES_AT: &str = "credentials.squadcast.com/expires-at";
/// Annotation on a target: fingerprint of region and refresh token.
pub const ANNOTATION_FINGERPRINT: &str = "credentials.squadcast.com/refresh-token-fingerprint";
/// Annotation on a target: hash over the data that the operator wrote.
pub const ANNOTATION_DATA_HASH: &str = "credentials.squadcast.com/data-hash";
/// Annotation on a target: hash over what the data was rendered from, the token aside.
pub const ANNOTATION_TEMPLATE_HASH: &str = "credentials.squadcast.com/template-hash";
/// Annotation on a target: which keys, labels and annotations the operator wrote.
pub const ANNOTATION_MANAGED: &str = "credentials.squadcast.com/managed";
/// Annotation on a target: Squadcast's clock less ours at the exchange, in seconds; only above 5.
pub const ANNOTATION_CLOCK_SKEW: &str = "credentials.squadcast.com/clock-skew";

/// Annotation on a Pod template, changed to restart a workload; `kubectl rollout restart` uses one alike.
pub const ANNOTATION_RESTARTED: &str = "credentials.squadcast.com/restarted-for";
