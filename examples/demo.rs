//! The operator's main job on a real Kubernetes API server, told with kubectl's own output: `make demo`.
//!
//! Control plane and stand-in for Squadcast's auth service are those of the tests. Every command is run as it is
//! printed. The program ends with a code other than 0 when a step does not happen within its bound; with `KEEP=1`
//! it leaves everything running until Ctrl-C. However it ends, it leaves nothing behind
//! but the logs of a control plane that did not start.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a demo talks to a person in a terminal")]

#[path = "demo/shell.rs"]
mod shell;
#[path = "demo/stage.rs"]
mod stage;
#[path = "demo/story.rs"]
mod story;
#[path = "../tests/support/mod.rs"]
mod support;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use tokio::signal::unix::{SignalKind, signal};

use crate::stage::Stage;

/// Why the demo cannot go on, in one sentence.
#[derive(Debug)]
struct Failure(String);

type Result<T> = std::result::Result<T, Failure>;

impl<E: fmt::Display> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

fn main() -> ExitCode {
    // What the tests' support cannot do, it says by a panic: its words are enough, without a place in the source.
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let words = payload.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| payload.downcast_ref::<&str>().copied());
        eprintln!("\nThe demo failed: {}", words.unwrap_or("a panic without words"));
    }));
    let Some(operator) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: demo PATH_OF_THE_OPERATOR'S_BINARY; `make demo` builds and names it");
        return ExitCode::from(2);
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("The demo failed: {error}");
            return ExitCode::FAILURE;
        }
    };
    // Leaving `block_on` ends what runs; leaving the runtime waits for what is still being started.
    runtime.block_on(async {
        let stage = tokio::select! {
            biased;
            signal = interrupted() => {
                println!("\nInterrupted: stopping everything.");
                return ExitCode::from(128 + signal);
            }
            stage = perform(&operator) => stage,
        };
        let Some(stage) = stage else { return ExitCode::FAILURE };
        if std::env::var_os("KEEP").is_some_and(|keep| !keep.is_empty() && keep != "0") {
            stage.invite();
            interrupted().await;
            println!("\nStopping everything.");
        }
        ExitCode::SUCCESS
    })
}

/// Waits for Ctrl-C or a polite request to end; answers with the signal's number.
async fn interrupted() -> u8 {
    let wait = async |kind: SignalKind| match signal(kind) {
        Ok(mut stream) => {
            stream.recv().await;
            u8::try_from(kind.as_raw_value()).unwrap_or_default()
        }
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        number = wait(SignalKind::interrupt()) => number,
        number = wait(SignalKind::terminate()) => number,
        number = wait(SignalKind::hangup()) => number,
    }
}

/// Sets the stage and tells the story; says why where that fails.
async fn perform(operator: &Path) -> Option<Stage> {
    let began = Instant::now();
    println!(
        "The operator on a real Kubernetes API server, in one to two minutes. A stand-in on this machine"
    );
    println!(
        "takes the place of Squadcast's auth service: its access tokens live {} s, not 48 h.",
        story::LIFE
    );
    let mut stage = match Stage::set(operator).await {
        Ok(stage) => stage,
        Err(Failure(why)) => {
            eprintln!("\nThe demo failed: {why}");
            return None;
        }
    };
    if let Err(Failure(why)) = story::tell(&mut stage).await {
        eprintln!("\nThe demo failed: {why}\n--- the operator's log ends with:\n{}", tail(&stage.log()));
        return None;
    }
    println!("\nEvery step happened, in {} s.", began.elapsed().as_secs());
    Some(stage)
}

/// The last lines of a log.
fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
