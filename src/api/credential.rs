//! The spec of the resource. Descriptions here are what `kubectl explain` shows; rules here are what the
//! API server refuses at admission.

#![allow(
    clippy::doc_markdown,
    reason = "kubectl explain shows these texts as they are: backticks would be noise"
)]

use std::{collections::BTreeMap, sync::LazyLock};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::{CustomResource, CustomResourceExt, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SpecDuration, SquadcastCredentialStatus};

/// Secret names are DNS subdomains (Kubernetes: "Object Names and IDs").
const SUBDOMAIN: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// Keys of a Secret's data (Kubernetes: "Secrets", restriction on names of data).
const SECRET_KEY: &str = "^([-_a-zA-Z0-9]|[.][-_a-zA-Z0-9])[-._a-zA-Z0-9]*$";
/// Keys of labels and annotations (Kubernetes: "Labels and Selectors", syntax).
const QUALIFIED_NAME: &str = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$";
/// Values of labels.
const LABEL_VALUE: &str = "^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$";

fn default_region() -> String {
    "us".to_owned()
}

fn default_key() -> String {
    "refresh_token".to_owned()
}

/// What to keep: which refresh token to exchange, and into which Secret the access token goes.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "credentials.squadcast.com",
    version = "v1alpha1",
    kind = "SquadcastCredential",
    plural = "squadcastcredentials",
    shortname = "sqc",
    category = "squadcast",
    namespaced,
    status = "SquadcastCredentialStatus",
    derive = "PartialEq",
    doc = "SquadcastCredential keeps a valid Squadcast access token in a Secret: it exchanges the refresh token found in one Secret of its namespace and writes the access token into another, renewed well before it expires.",
    selectable = ".spec.region",
    selectable = ".spec.target.name",
    selectable = ".spec.refreshTokenSecretRef.name",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status", description = "Whether the Secret holds an unexpired token"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", description = "Why Ready has its status"),
    printcolumn(name = "Synced", type_ = "string", json_path = ".status.conditions[?(@.type==\"Synced\")].reason", description = "How the last attempt ended"),
    printcolumn(name = "Region", type_ = "string", json_path = ".spec.region", description = "Squadcast's region"),
    printcolumn(name = "Secret", type_ = "string", json_path = ".spec.target.name", description = "The Secret that holds the access token"),
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.expiresAt", description = "When the token expires"),
    printcolumn(name = "Renews", type_ = "string", json_path = ".status.renewAt", description = "When the token will be renewed"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", description = "What is wrong and what to do", priority = 1),
    validation = Rule::new("size(self.metadata.name) <= 63").message("the name of a SquadcastCredential is also the value of a label: use at most 63 characters")
)]
#[x_kube(
    validation = Rule::new("!(has(self.renewBefore) && has(self.renewBeforePercentage))").message("renewBefore and renewBeforePercentage exclude each other: remove one of them"),
    validation = Rule::new("self.target.name != self.refreshTokenSecretRef.name").message("target.name must differ from refreshTokenSecretRef.name: give the access token a Secret of its own")
)]
#[serde(rename_all = "camelCase")]
pub struct SquadcastCredentialSpec {
    /// Squadcast's region: us, eu, or one that the operator was started with (--region).
    #[serde(default = "default_region")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$')").message("region must be the name of a region, such as us or eu: lower-case letters, digits and inner hyphens, at most 32 characters"))]
    pub region: String,

    /// The Secret in this namespace that holds the refresh token from Squadcast's web application.
    pub refresh_token_secret_ref: RefreshTokenSecretRef,

    /// What to do when Squadcast answers with another refresh token: Ignore it, or WriteBack, which
    /// stores it in the Secret of refreshTokenSecretRef. Do not use WriteBack where Git, External Secrets
    /// or Vault re-applies that Secret.
    #[serde(default)]
    pub refresh_token_rotation: RefreshTokenRotation,

    /// The Secret in this namespace that receives the access token.
    pub target: Target,

    /// Renew this long before the token expires, for example 12h or 1h30m. Without it and without
    /// renewBeforePercentage the token is renewed when two thirds of its life have passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+h)?([0-9]+m)?([0-9]+s)?$') && self.matches('^([0-9]{1,6}h)?([0-9]{1,7}m)?([0-9]{1,9}s)?$') && size(self) > 0 && duration(self) >= duration('1s') && duration(self) <= duration('87600h')").message("renewBefore must be hours, minutes and seconds in this order, as in 12h, 1h30m or 90s, between 1s and 87600h (10 years)"))]
    pub renew_before: Option<SpecDuration>,

    /// Renew when this percentage of the token's life is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 99))]
    pub renew_before_percentage: Option<i32>,

    /// Workloads in this namespace that are restarted after each change of the Secret's data. Not needed
    /// by workloads that mount the Secret as files and read them again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["kind".into(), "name".into()]))]
    pub rollout_restart_targets: Vec<RolloutRestartTarget>,

    /// While true: no exchange and no write to a Secret or workload; the status is still kept.
    #[serde(default)]
    pub suspend: bool,
}

/// Where the refresh token is.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefreshTokenSecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new(format!("self.matches('{SUBDOMAIN}')")).message("refreshTokenSecretRef.name must be the name of a Secret: lower-case letters, digits, hyphens and dots, starting and ending with a letter or digit"))]
    pub name: String,
    /// Key in the Secret's data. White space around the value is ignored.
    #[serde(default = "default_key")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new(format!("self.matches('{SECRET_KEY}')")).message("refreshTokenSecretRef.key must be a key of a Secret: letters, digits, hyphens, underscores and dots"))]
    pub key: String,
}

/// What to do when Squadcast answers with another refresh token.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefreshTokenRotation {
    #[default]
    #[allow(missing_docs, reason = "a description would turn the schema's enum into oneOf")]
    Ignore,
    #[allow(missing_docs, reason = "a description would turn the schema's enum into oneOf")]
    WriteBack,
}

/// The Secret to write.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new(format!("self.matches('{SUBDOMAIN}')")).message("target.name must be the name of a Secret: lower-case letters, digits, hyphens and dots, starting and ending with a letter or digit"))]
    pub name: String,
    /// Owner: create the Secret and let it be deleted with this resource. Orphan: create it and let it
    /// outlive this resource. Merge: write keys into a Secret that exists and allows it by the annotation
    /// credentials.squadcast.com/allow-write-by.
    #[serde(default)]
    pub creation_policy: CreationPolicy,
    /// Labels to put on the Secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = {"type": "string", "maxLength": 63}))]
    #[x_kube(
        validation = Rule::new("self.all(k, !k.startsWith('credentials.squadcast.com/') && k != 'app.kubernetes.io/managed-by')").message("target.labels: keys under credentials.squadcast.com/ and app.kubernetes.io/managed-by are the operator's own: remove them"),
        validation = Rule::new(format!("self.all(k, size(k.split('/')[0]) <= 253 && k.matches('{QUALIFIED_NAME}'))")).message("target.labels: a key is a name of at most 63 letters, digits, hyphens, underscores and dots, with an optional DNS prefix, as in example.com/team"),
        validation = Rule::new(format!("self.all(k, self[k].matches('{LABEL_VALUE}'))")).message("target.labels: a value has at most 63 letters, digits, hyphens, underscores and dots, and starts and ends with a letter or digit")
    )]
    pub labels: BTreeMap<String, String>,
    /// Annotations to put on the Secret, of at most 4096 bytes each: Kubernetes allows 256 KiB for all
    /// annotations of an object.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = {"type": "string", "maxLength": 4096}))]
    #[x_kube(
        validation = Rule::new("self.all(k, !k.startsWith('credentials.squadcast.com/') && k != 'app.kubernetes.io/managed-by')").message("target.annotations: keys under credentials.squadcast.com/ and app.kubernetes.io/managed-by are the operator's own: remove them"),
        validation = Rule::new(format!("self.all(k, size(k.split('/')[0]) <= 253 && k.matches('{QUALIFIED_NAME}'))")).message("target.annotations: a key is a name of at most 63 letters, digits, hyphens, underscores and dots, with an optional DNS prefix, as in example.com/team"),
        validation = Rule::new("self.all(k, size(bytes(self[k])) <= 4096)").message("target.annotations: a value may have at most 4096 bytes: shorten it")
    )]
    pub annotations: BTreeMap<String, String>,
    /// Keys of the Secret and what they hold: MiniJinja templates over access_token, token_type,
    /// issued_at, expires_at, region and api_url. Replaces the default keys access_token, token_type,
    /// issued_at and expires_at.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minProperties" = 1, "maxProperties" = 64, "additionalProperties" = {"type": "string", "maxLength": 8192}))]
    #[x_kube(
        validation = Rule::new(format!("self.all(k, size(k) <= 253 && k.matches('{SECRET_KEY}'))")).message("target.template: a key must be a key of a Secret: at most 253 letters, digits, hyphens, underscores and dots"),
        validation = Rule::new("self.all(k, size(bytes(self[k])) <= 8192)").message("target.template: a template may have at most 8192 bytes: shorten it"),
        validation = Rule::new("self.all(k, size(self[k]) > 0)").message("target.template: a template may not be empty: write what its key is to hold, or remove the key")
    )]
    pub template: Option<BTreeMap<String, String>>,
}

/// Who creates the target, and what becomes of it with the resource.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CreationPolicy {
    #[default]
    #[allow(missing_docs, reason = "a description would turn the schema's enum into oneOf")]
    Owner,
    #[allow(missing_docs, reason = "a description would turn the schema's enum into oneOf")]
    Orphan,
    #[allow(missing_docs, reason = "a description would turn the schema's enum into oneOf")]
    Merge,
}

/// A workload to restart.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutRestartTarget {
    /// Deployment, StatefulSet or DaemonSet.
    pub kind: WorkloadKind,
    /// Name of the workload.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new(format!("self.matches('{SUBDOMAIN}')")).message("rolloutRestartTargets: name must be the name of a workload: lower-case letters, digits, hyphens and dots, starting and ending with a letter or digit"))]
    pub name: String,
}

/// The kinds of workload that can be restarted.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkloadKind {
    #[allow(missing_docs, reason = "a description would turn the schema's enum into oneOf")]
    Deployment,
    #[allow(missing_docs, reason = "a description would turn the schema's enum into oneOf")]
    StatefulSet,
    #[allow(missing_docs, reason = "a description would turn the schema's enum into oneOf")]
    DaemonSet,
}

impl WorkloadKind {
    /// The name as users see it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
        }
    }

    /// The plural in URLs of `apps/v1`.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Deployment => "deployments",
            Self::StatefulSet => "statefulsets",
            Self::DaemonSet => "daemonsets",
        }
    }
}

/// The custom resource definition, as `squadcast-operator crd` prints it.
pub fn crd() -> &'static CustomResourceDefinition {
    static CRD: LazyLock<CustomResourceDefinition> = LazyLock::new(|| {
        let mut crd = SquadcastCredential::crd();
        let schemas =
            crd.spec.versions.iter_mut().filter_map(|v| v.schema.as_mut()?.open_api_v3_schema.as_mut());
        for schema in schemas {
            refuse_null(schema);
            join_lines(schema);
            if let Some(status) = schema.properties.as_mut().and_then(|p| p.get_mut("status")) {
                // Flux and Helm take a resource without a status for one that is ready. The default says
                // that nobody has looked at this one yet.
                status.default = Some(JSON(serde_json::json!({ "observedGeneration": -1 })));
            }
        }
        crd
    });
    &CRD
}

/// Makes each description one line: `kubectl explain` wraps it, and would keep our breaks among its own.
fn join_lines(schema: &mut JSONSchemaProps) {
    schema.description = schema.description.take().map(|text| text.replace('\n', " "));
    for child in schema.properties.iter_mut().flat_map(BTreeMap::values_mut) {
        join_lines(child);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        join_lines(items);
    }
}

/// Takes `nullable` from the whole schema: the API server then drops a null that somebody wrote, so that
/// rules and defaults see a field that is absent.
fn refuse_null(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    for child in schema.properties.iter_mut().flat_map(BTreeMap::values_mut) {
        refuse_null(child);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        refuse_null(items);
    }
}
