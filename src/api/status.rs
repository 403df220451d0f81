//! What the operator tells of a resource, and its memory across restarts.

#![allow(
    clippy::doc_markdown,
    reason = "kubectl explain shows these texts as they are: backticks would be noise"
)]

use jiff::Timestamp;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{Condition, ConditionType, Reason, condition};

/// What the operator last saw and did. Times are of this cluster's clock, in whole seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SquadcastCredentialStatus {
    /// The generation of the spec that this status was computed from; -1 until the operator has looked
    /// at the resource for the first time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready: the Secret holds an unexpired token. Synced: the last attempt did what it should.
    /// Stalled: present only while someone must act.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// When the token in the Secret was issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub issued_at: Option<Timestamp>,
    /// When the token in the Secret expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub expires_at: Option<Timestamp>,
    /// When the operator will renew the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub renew_at: Option<Timestamp>,
    /// When the operator last got a token from Squadcast.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub last_renewed_at: Option<Timestamp>,
    /// The Secret that the operator last wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_name: Option<String>,
    /// How many attempts have failed in a row; left out when none has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failures: Option<i32>,
    /// When an attempt last failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub last_failure_at: Option<Timestamp>,
    /// When the operator will try again after a failure, if nothing changes before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub next_attempt_at: Option<Timestamp>,
    /// The value of the annotation credentials.squadcast.com/renew-requested-at that was handled last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_handled_renew_request: Option<String>,
    /// Stands for the region and the refresh token that were tried last; tells a corrected refresh token
    /// from one that has already failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_attempt_fingerprint: Option<String>,
    /// Stands for the data of the Secret for which rolloutRestartTargets were last restarted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarted_data_hash: Option<String>,
}

impl SquadcastCredentialStatus {
    /// The condition of a type, if present.
    pub fn condition(&self, type_: ConditionType) -> Option<&Condition> {
        condition::find(&self.conditions, type_)
    }

    /// The reason of a condition, if present and one of ours.
    pub fn reason(&self, type_: ConditionType) -> Option<Reason> {
        self.condition(type_).and_then(Condition::reason)
    }

    /// How many attempts have failed in a row.
    pub fn failure_count(&self) -> u32 {
        self.failures.and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
    }
}
