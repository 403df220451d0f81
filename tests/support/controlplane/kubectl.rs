//! kubectl on a control plane, as a person would use it.

use std::process::{Command, Output, Stdio};
use std::sync::atomic::Ordering;

use super::{ControlPlane, binaries};

impl ControlPlane {
    /// kubectl as administrator.
    pub fn kubectl(&self, args: &[&str]) -> Output {
        self.kubectl_with(args, "")
    }

    /// kubectl as administrator with something on its standard input: `kubectl_with(&["apply", "-f", "-"], yaml)`.
    pub fn kubectl_with(&self, args: &[&str], input: &str) -> Output {
        let stdin = self.folder.join(format!("stdin-{}", self.files.fetch_add(1, Ordering::Relaxed)));
        std::fs::write(&stdin, input).expect("a file for kubectl's input");
        Command::new(binaries().join("kubectl"))
            .arg("--kubeconfig")
            .arg(self.admin_kubeconfig())
            .arg("--cache-dir")
            .arg(self.folder.join("kubectl-cache"))
            .args(args)
            .stdin(Stdio::from(std::fs::File::open(&stdin).expect("kubectl's input")))
            .output()
            .expect("kubectl")
    }
}
