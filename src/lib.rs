//! placeholder
pub mod api;
pub mod squadcast;
