//! The binary: reads the command line and hands over to the library.

use std::process::ExitCode;

/// Of the image's program. musl's own allocator takes about 1.6 times the processor time for the same work.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    squadcast_operator::cli::main(std::env::args_os())
}
