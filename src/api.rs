//! The resource that users write: [`SquadcastCredential`], its status, its conditions, and the one
//! catalogue of reasons. Pure types; nothing here touches the outside.

mod condition;
mod credential;
mod duration;
mod key;
pub mod names;
mod reason;
mod status;
pub(crate) mod uid;

pub use condition::{Condition, ConditionType, find, set};
pub use credential::{
    CreationPolicy, RefreshTokenRotation, RefreshTokenSecretRef, RolloutRestartTarget, SquadcastCredential,
    SquadcastCredentialSpec, Target, WorkloadKind, crd,
};
pub use duration::{InvalidDuration, SpecDuration};
pub use key::Key;
pub use reason::Reason;
pub use status::SquadcastCredentialStatus;
