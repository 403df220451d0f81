//! The image: what its archive holds, and its program at work in a root file system that holds nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is how a test fails; sizes are for people to read"
)]

#[path = "support/mod.rs"]
mod support;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;

use crate::support::controlplane::repository;
use crate::support::operator::Launch;
use crate::support::world::{REGION, World};
use crate::support::{DEADLINE, Reply, Squadcast};

struct Image {
    archive: PathBuf,
    manifest: Value,
    config: Value,
    files: Vec<String>,
    folder: tempfile::TempDir,
}

fn build(archive: &Path) {
    let built = Command::new(repository().join("image/archive.sh")).arg(archive).status();
    assert!(built.is_ok_and(|status| status.success()), "image/archive.sh failed; it says why above");
}

fn unpack(archive: &Path, into: &Path) {
    std::fs::create_dir_all(into).unwrap();
    let done = Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(into).status();
    assert!(done.is_ok_and(|status| status.success()), "{}", archive.display());
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The image of these sources, built once.
fn image() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let archive = repository().join(".cache/image/squadcast-operator.tar");
        build(&archive);
        let folder = tempfile::tempdir().unwrap();
        let parts = folder.path().join("parts");
        unpack(&archive, &parts);
        let manifest = json(&parts.join("manifest.json"))[0].clone();
        let config = json(&parts.join(manifest["Config"].as_str().unwrap()));
        let layer = parts.join(manifest["Layers"][0].as_str().unwrap());
        let listed = Command::new("tar").args(["--numeric-owner", "-tvf"]).arg(&layer).output().unwrap();
        let files = String::from_utf8(listed.stdout).unwrap().lines().map(str::to_owned).collect();
        unpack(&layer, &folder.path().join("root"));
        let size = std::fs::metadata(&layer).unwrap().len();
        println!("the image's layer has {} KiB", size / 1024);
        Image { archive, manifest, config, files, folder }
    })
}

impl Image {
    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// A program that starts that of the image in its root, as its user where we may choose one.
    fn entry(&self) -> PathBuf {
        static ENTRY: OnceLock<PathBuf> = OnceLock::new();
        let write = || {
            let path = self.folder.path().join("enter");
            let root = self.root();
            let how = if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
                "chroot --userspec=65532:65532"
            } else {
                "unshare --map-root-user chroot"
            };
            let text = format!("#!/bin/sh\nexec {how} '{}' /squadcast-operator \"$@\"\n", root.display());
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            // The user of the image looks into the folders above.
            for folder in [self.folder.path(), &root] {
                std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
            }
            path
        };
        ENTRY.get_or_init(write).clone()
    }

    async fn run(&self, args: &[&str], refresh_token: &str) -> Output {
        let mut command = tokio::process::Command::new(self.entry());
        command.args(args).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.env("SQUADCAST_REFRESH_TOKEN", refresh_token);
        command.output().await.unwrap()
    }

    /// A file for the program: its path on this machine and in the image's root.
    fn place(&self, name: &str, text: &[u8]) -> String {
        let path = self.root().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        format!("/{name}")
    }
}

#[test]
fn it_holds_one_program_and_licences_and_nothing_else() {
    let image = image();
    let mut names = Vec::new();
    for line in &image.files {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [mode, owner, _, _, _, name] = words[..] else { panic!("{line}") };
        assert_eq!(owner, "0/0", "{line}");
        let expected = match name {
            "squadcast-operator" => "-rwxr-xr-x",
            "licenses/" => "drwxr-xr-x",
            _ => "-rw-r--r--",
        };
        assert_eq!(mode, expected, "{line}");
        names.push(name);
    }
    assert_eq!(
        names,
        ["licenses/", "licenses/squadcast-operator", "licenses/third-party", "squadcast-operator"]
    );
    let licences = std::fs::read_to_string(image.root().join("licenses/third-party")).unwrap();
    let (list, texts) = licences.split_once("\n==== ").expect("texts");
    assert!(list.contains("Rich Felker"), "musl's");
    let crates = list.split_once("under these licences:\n\n").expect("a list").1.lines();
    let mut number = 0;
    for line in crates.filter(|line| !line.is_empty()) {
        let (name, licence) = line.split_once(" (").expect("a licence");
        // Some bring no text of Apache-2.0, which is here as the crate's own.
        assert!(texts.contains(name) || licence.contains("Apache-2.0"), "no text of {line}");
        assert!(!name.starts_with("proptest "), "what only tests use is not in the program");
        number += 1;
    }
    assert!(number > 100, "{number}");
}

#[test]
fn it_is_described_for_programs_and_people_and_runs_as_nobody() {
    let config = &image().config["config"];
    let (user, group) = config["User"].as_str().unwrap().split_once(':').unwrap();
    assert!(user.parse::<u32>().unwrap() > 0 && group.parse::<u32>().unwrap() > 0);
    assert_eq!(config["Entrypoint"], serde_json::json!(["/squadcast-operator"]));
    let labels = &config["Labels"];
    assert_eq!(labels["org.opencontainers.image.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(labels["org.opencontainers.image.licenses"], env!("CARGO_PKG_LICENSE"));
    for label in ["title", "description", "revision", "source"] {
        let text = labels[format!("org.opencontainers.image.{label}")].as_str().unwrap();
        assert!(text.len() > 5, "{label}: {text:?}");
    }
    assert_eq!(config.get("Env"), None);
    let tag = format!("squadcast-operator:{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(image().manifest["RepoTags"], serde_json::json!([tag]));
}

#[test]
fn packed_again_it_is_the_same_archive() {
    let again = image().folder.path().join("again.tar");
    build(&again);
    assert!(std::fs::read(&again).unwrap() == std::fs::read(&image().archive).unwrap());
}

#[tokio::test]
async fn in_an_empty_root_it_trusts_public_authorities_and_no_others() {
    let squadcast = Squadcast::start();
    squadcast.script("rt-one", Reply::token());
    let image = image();
    let version = image.run(&["--version"], "").await;
    assert_eq!(version.stdout, format!("squadcast-operator {}\n", env!("CARGO_PKG_VERSION")).as_bytes());
    let definition = image.run(&["crd"], "").await;
    let wanted = std::fs::read(repository().join("crds/squadcastcredentials.yaml")).unwrap();
    assert!(definition.stdout == wanted);

    // Certificates are examined with the authorities that are compiled in: this one is by none of them.
    let region = format!("--region=test={}", squadcast.url());
    let unknown = image.run(&["check", &region], "rt-one").await;
    let said = String::from_utf8_lossy(&unknown.stdout).into_owned();
    assert_eq!(unknown.status.code(), Some(1), "{said}");
    assert!(said.contains("ConnectionFailed") && said.contains("certificate"), "{said}");
    assert_eq!(squadcast.count("rt-one"), 0);
    let authority = image.place("check-ca.pem", squadcast.ca_pem().as_bytes());
    let known = image.run(&["check", &region, &format!("--ca-file={authority}")], "rt-one").await;
    assert!(known.status.success(), "{}", String::from_utf8_lossy(&known.stdout));
    assert_eq!(squadcast.count("rt-one"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_an_empty_root_it_does_its_work() {
    let image = image();
    let world = World::new("image").await;
    let user = format!("image-{}", world.namespace);
    let kubeconfig = std::fs::read(world.plane.kubeconfig_for(&user, &["system:masters"])).unwrap();
    let kubeconfig = image.place("kubeconfig", &kubeconfig);
    let authority = image.place("ca.pem", world.squadcast.ca_pem().as_bytes());
    let operator = Launch::new(image.entry())
        .user(&user)
        .env("KUBECONFIG", kubeconfig)
        .arg(format!("--namespaces={}", world.namespace))
        .arg(format!("--region={REGION}={}", world.squadcast.url()))
        .arg(format!("--ca-file={authority}"))
        .start();
    operator.wait_ready().await;
    world.refresh_token("one-source", "rt-one").await;
    world.credential("one", "one-source", "one-target").await;
    world.wait_ready("one").await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", operator.pid())).unwrap();
    let memory = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    println!("the operator in the image: {memory}");
    operator.sigterm();
    assert_eq!(operator.wait_exit(DEADLINE).await, 0);
}
