//! Conditions as `metav1.Condition` has them, with `observedGeneration`.

use std::borrow::Cow;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

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
    #[serde(rename = "type", deserialize_with = "word")]
    pub type_: Cow<'static, str>,
    /// True, False or Unknown.
    #[serde(deserialize_with = "word")]
    pub status: Cow<'static, str>,
    /// One word for programs: why the condition has this status.
    #[serde(deserialize_with = "word")]
    pub reason: Cow<'static, str>,
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

/// Words that are known take no memory of their own: there are some in each resource.
fn word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Cow<'static, str>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let types =
        [ConditionType::Ready, ConditionType::Synced, ConditionType::Stalled].map(ConditionType::as_str);
    let known = types.into_iter().chain(["True", "False", "Unknown"]).find(|word| *word == text);
    let known = known.or_else(|| Reason::parse(&text).map(Reason::as_str));
    Ok(known.map_or(Cow::Owned(text), Cow::Borrowed))
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
        type_: type_.as_str().into(),
        status: if status { "True" } else { "False" }.into(),
        reason: reason.as_str().into(),
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
