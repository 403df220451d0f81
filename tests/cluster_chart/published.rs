//! What a release publishes beside the image, as its workflow makes it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::release::file;
use crate::support::controlplane::helm::program;
use crate::support::controlplane::repository;

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn script(args: &[&str]) -> Output {
    script_of(&repository(), args)
}

fn script_of(repository: &Path, args: &[&str]) -> Output {
    program();
    Command::new(repository.join("deploy/release.sh")).args(args).output().unwrap()
}

/// A copy of what a release is made of, whose list of changes has a section of this version.
fn copy(folder: &Path) -> PathBuf {
    for path in ["deploy", "charts", ".cache/helm"] {
        let into = folder.join(path);
        std::fs::create_dir_all(into.parent().unwrap()).unwrap();
        let copied = Command::new("cp").arg("-R").arg(repository().join(path)).arg(&into).status();
        assert!(copied.unwrap().success(), "{path}");
    }
    std::fs::write(folder.join("Cargo.toml"), file("Cargo.toml")).unwrap();
    let changes = format!(
        "# Changes\n\n## [Unreleased]\n\n- Not yet\n\n## [{VERSION}] - 2026-01-02\n\n- What is new\n\n## [0.0.1]\n\n- Old\n"
    );
    std::fs::write(folder.join("CHANGELOG.md"), changes).unwrap();
    folder.to_owned()
}

#[test]
fn a_release_has_the_notes_of_its_version_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let copy = copy(folder.path());
    let checked = script_of(&copy, &["check", &format!("v{VERSION}")]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    assert_eq!(String::from_utf8(checked.stdout).unwrap(), format!("version={VERSION}\n"));
    let out = copy.join("out").display().to_string();
    let made =
        script_of(&copy, &["files", "registry.example/a/op", &format!("sha256:{}", "0".repeat(64)), &out]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let notes = std::fs::read_to_string(copy.join("out/notes.md")).unwrap();
    assert_eq!(notes.trim(), "- What is new");

    std::fs::write(copy.join("CHANGELOG.md"), "## [Unreleased]\n").unwrap();
    let refused = script_of(&copy, &["check", &format!("v{VERSION}")]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains(&format!("no section [{VERSION}]")), "{said}");
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
    let image = |values: &[&str]| {
        let rendered =
            Command::new(program()).args(["template", "any", &chart]).args(values).output().unwrap();
        let text = String::from_utf8(rendered.stdout).unwrap();
        let line = text.lines().find_map(|line| line.trim().strip_prefix("image: ")).unwrap();
        line.trim_matches('"').to_owned()
    };
    assert_eq!(image(&[]), published);
    // Who names another image gets it.
    assert_eq!(image(&["--set", "image.tag=9.9.9"]), "registry.example/operator:9.9.9");
    let other = format!("sha256:{}", "f".repeat(64));
    let digest = format!("image.digest={other}");
    assert_eq!(image(&["--set", &digest]), format!("registry.example/operator@{other}"));
    assert_eq!(
        image(&["--set", "image.repository=mirror.example/op"]),
        published.replace("registry.example/operator", "mirror.example/op")
    );
    // The README in the package says how to install the package.
    let readme = Command::new(program()).args(["show", "readme", &chart]).output().unwrap();
    let install = format!("oci://registry.example/charts/squadcast-operator --version {VERSION} --namespace");
    assert!(String::from_utf8(readme.stdout).unwrap().contains(&install));

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
