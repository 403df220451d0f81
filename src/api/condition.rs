//! Conditions as `metav1.Condition` has them, with `observedGeneration`.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Reason;

/// The types of condition that the operator writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConditionType {
    /// The target holds an unexpired token.
    Ready,
    /// The last attempt did what it should.
    Synced,
    /// Someone must act; present only while that is so.
    Stalled,
}

impl ConditionType {
    /// The name as users see it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Synced => "Synced",
            Self::Stalled => "Stalled",
        }
    }
}

/// One observation of a resource's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Ready, Synced or Stalled.
    #[serde(rename = "type")]
    pub type_: String,
    /// True, False or Unknown.
    pub status: String,
    /// One word for programs: why the condition has this status.
    pub reason: String,
    /// One sentence for people: what is wrong and what to do.
    pub message: String,
    /// When the status last changed.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub last_transition_time: Timestamp,
    /// The generation of the resource that this was said of.
    #[serde(default)]
    pub observed_generation: i64,
}

impl Condition {
    /// Whether the status is `True`.
    pub fn is_true(&self) -> bool {
        self.status == "True"
    }

    /// The reason, where it is one of ours.
    pub fn reason(&self) -> Option<Reason> {
        Reason::parse(&self.reason)
    }
}

/// The condition of a type, if present.
pub fn find(conditions: &[Condition], type_: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|c| c.type_ == type_.as_str())
}

/// Sets a condition; `lastTransitionTime` moves only where the status does.
pub fn set(
    conditions: &mut Vec<Condition>,
    type_: ConditionType,
    status: bool,
    reason: Reason,
    message: String,
    generation: i64,
    now: Timestamp,
) {
    let mut next = Condition {
        type_: type_.as_str().to_owned(),
        status: if status { "True" } else { "False" }.to_owned(),
        reason: reason.as_str().to_owned(),
        message,
        last_transition_time: now,
        observed_generation: generation,
    };
    match conditions.iter_mut().find(|c| c.type_ == next.type_) {
        Some(previous) => {
            if previous.status == next.status {
                next.last_transition_time = previous.last_transition_time;
            }
            *previous = next;
        }
        None => conditions.push(next),
    }
}
