//! The image: what its archive holds, and its program at work in a root file system that holds nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is how a test fails; sizes are for people to read"
)]

#[path = "../support/mod.rs"]
mod support;

mod at_work;
mod authorities;
mod contents;
mod image;
