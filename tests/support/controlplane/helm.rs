//! helm on a control plane, as a person would use it.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::Ordering;

use super::{ControlPlane, built};

/// The program, built where it is lacking.
pub fn program() -> PathBuf {
    built("helm", &["helm"]).join("helm")
}

impl ControlPlane {
    /// helm as administrator with something on its standard input: `helm(&["install", …, "-f", "-"], values)`.
    pub fn helm(&self, args: &[&str], input: &str) -> Output {
        let folder = self.folder().join("helm");
        let stdin = self.folder().join(format!("stdin-{}", self.files.fetch_add(1, Ordering::Relaxed)));
        std::fs::write(&stdin, input).expect("a file for helm's input");
        Command::new(program())
            .args(args)
            .env("KUBECONFIG", self.admin_kubeconfig())
            .env("HELM_CACHE_HOME", folder.join("cache"))
            .env("HELM_CONFIG_HOME", folder.join("config"))
            .env("HELM_DATA_HOME", folder.join("data"))
            .stdin(Stdio::from(std::fs::File::open(&stdin).expect("helm's input")))
            .output()
            .expect("helm")
    }
}
