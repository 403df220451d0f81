//! Keeps the process's memory, which holds tokens, to the process.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// No core dump, neither as a file nor to a program that collects them, and no debugger of an equal (Linux:
/// `PR_SET_DUMPABLE` in prctl(2), `RLIMIT_CORE` in getrlimit(2)).
pub fn keep_private() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}
