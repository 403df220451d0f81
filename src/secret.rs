//! Secrets: the refresh token in, the access token out. Reading, rendering, hashing, and the bodies of
//! writes. Pure apart from [`api`], the only place that talks to the API server about Secrets.

pub mod api;
mod body;
mod facts;
mod hash;
mod metadata;
pub mod render;

pub use body::{Desired, TokenNotes, create, metadata_is_current, patch, patch_metadata};
pub use facts::{ControllerRef, Managed, SecretFacts, SecretMeta, Token};
pub use hash::{data_hash, template_hash};
