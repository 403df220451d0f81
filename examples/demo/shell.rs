//! Runs command lines as a person would type them, and shows them with what they print.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::{Failure, Result};

/// Longer than any command's own bound.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder to work in, with kubectl on the path and a cluster to talk to.
pub struct Shell {
    folder: PathBuf,
    path: OsString,
    kubeconfig: PathBuf,
}

impl Shell {
    pub fn new(folder: &Path, programs: &Path, kubeconfig: PathBuf) -> Result<Self> {
        let others = std::env::var_os("PATH").unwrap_or_default();
        let path =
            std::env::join_paths(std::iter::once(programs.to_owned()).chain(std::env::split_paths(&others)))?;
        Ok(Self { folder: folder.to_owned(), path, kubeconfig })
    }

    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    fn command(&self, line: &str) -> Command {
        // Without a pipe the shell makes way, so that a kill meets the program itself.
        let script = if line.contains('|') { line.to_owned() } else { format!("exec {line}") };
        let mut command = Command::new("sh");
        command
            .args(["-c", &script])
            .current_dir(&self.folder)
            .env("PATH", &self.path)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBECACHEDIR", self.folder.join("kubectl-cache"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // Ctrl-C is for us; we end what we started.
            .process_group(0)
            .kill_on_drop(true);
        command
    }

    /// Shows a line, runs it, shows what it prints and answers with that; its failure is ours.
    pub async fn run(&self, line: &str) -> Result<String> {
        println!("$ {line}");
        // `output()` would keep standard error to itself.
        let child = self.command(line).stderr(Stdio::inherit()).spawn()?;
        let output = timeout(PATIENCE, child.wait_with_output())
            .await
            .map_err(|_| format!("`{line}` did not end within {} s", PATIENCE.as_secs()))??;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        print!("{text}");
        if output.status.success() { Ok(text) } else { Err(Failure(format!("`{line}`: {}", output.status))) }
    }

    /// Shows a line and starts it, for its output to be followed.
    pub fn follow(&self, line: &str) -> Result<Following> {
        println!("$ {line}");
        let mut child = self.command(line).stderr(Stdio::inherit()).spawn()?;
        let stdout = child.stdout.take().ok_or("a program without output")?;
        Ok(Following { line: line.to_owned(), child, lines: BufReader::new(stdout).lines() })
    }
}

/// A program that goes on printing.
pub struct Following {
    line: String,
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Following {
    /// Shows the next line that it prints, and answers with it.
    pub async fn next(&mut self) -> Result<String> {
        let line = timeout(PATIENCE, self.lines.next_line())
            .await
            .map_err(|_| format!("`{}` printed nothing for {} s", self.line, PATIENCE.as_secs()))??;
        let line = line.ok_or_else(|| format!("`{}` ended", self.line))?;
        println!("{line}");
        Ok(line)
    }

    /// Ends it, as Ctrl-C does for a person.
    pub async fn end(mut self) -> Result<()> {
        println!("^C");
        Ok(self.child.kill().await?)
    }
}
