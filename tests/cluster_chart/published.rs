//! What a release publishes beside the image, as its workflow makes it.

use std::path::Path;
use std::process::{Command, Output};

use crate::release::file;
use crate::support::controlplane::helm::program;
use crate::support::controlplane::repository;

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn script(args: &[&str]) -> Output {
    program();
    Command::new(repository().join("deploy/release.sh")).args(args).output().unwrap()
}

#[test]
fn chart_and_manifest_of_a_release_name_the_image_by_its_digest() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
    let made = script(&["files", "registry.example/operator", &digest, &path("")]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

    // Nothing else differs from what the repository holds.
    let published = format!("registry.example/operator@{digest}");
    let ours = format!("ghcr.io/squadcast-operator/squadcast-operator:{VERSION}");
    let manifest = std::fs::read_to_string(path("install.yaml")).unwrap();
    assert!(manifest.contains(&published));
    assert!(manifest == file("deploy/install.yaml").replace(&ours, &published));
    let chart = path(&format!("squadcast-operator-{VERSION}.tgz"));
    let rendered = Command::new(program()).args(["template", "any", &chart]).output().unwrap();
    assert!(String::from_utf8_lossy(&rendered.stdout).contains(&published));
    assert!(Path::new(&path("notes.md")).exists());

    let refused = script(&["files", "registry.example/operator", "latest", &path("")]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("latest is no digest"), "{said}");
}

#[test]
fn a_tag_that_is_not_the_version_is_refused() {
    let refused = script(&["check", "v999.0.0"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("v999.0.0") && said.contains(VERSION), "{said}");
}
