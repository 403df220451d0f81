//! The program run to its end, as somebody at a terminal runs it.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::OPERATOR;
use crate::support::DEADLINE;

/// What a user information of a URL in these tests holds; nothing may repeat it.
pub const PASSWORD: &str = "hunter2";

/// How it ended, and what it wrote.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ended {
    /// Everything that it wrote.
    pub fn all(&self) -> String {
        format!("{}{}", self.out, self.err)
    }
}

/// Runs it with these arguments and nothing else from outside.
pub async fn run(args: &[&str]) -> Ended {
    run_with(args, &[], "").await
}

/// Runs it with these arguments, this environment, and this on its standard input.
pub async fn run_with(args: &[&str], env: &[(&str, &str)], input: &str) -> Ended {
    let mut command = Command::new(OPERATOR);
    command.args(args).env_clear().env("HOME", "/nonexistent").envs(env.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    // One that does not read its input may have ended already.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = tokio::time::timeout(DEADLINE, child.wait_with_output()).await;
    let output = output.unwrap_or_else(|_| panic!("{args:?} did not end")).expect("its output");
    Ended {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}

/// It ended with this code, said one line to people, and nothing to programs.
pub fn says_one_line(what: &str, ended: &Ended, code: i32, parts: &[&str]) {
    assert_eq!(ended.code, code, "{what}: {ended:?}");
    assert!(ended.out.is_empty(), "{what}: {ended:?}");
    let line = ended.err.strip_suffix('\n').unwrap_or_else(|| panic!("{what}: {ended:?}"));
    assert!(line.starts_with("squadcast-operator: ") && !line.contains(['\n', '\r']), "{what}: {ended:?}");
    for part in parts {
        assert!(line.contains(part), "{what}: no {part:?} in {line:?}");
    }
    for word in ["panicked", "backtrace", "RUST_", "Error {", "Err(", PASSWORD] {
        assert!(!line.contains(word), "{what}: {word:?} in {line:?}");
    }
}
