//! The images of the tests: the operator's as users get it, and the consumer's.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::support::controlplane::repository;

/// The image of the consumer, which is also what holds each Pod's namespaces.
pub const CONSUMER: &str = "consumer.test/consumer:1";

/// The archive that `image/archive.sh` has built.
pub fn operator() -> PathBuf {
    repository().join(".cache/image/squadcast-operator.tar")
}

fn run(command: &mut Command) {
    let status = command.status();
    assert!(status.as_ref().is_ok_and(std::process::ExitStatus::success), "{command:?}: {status:?}");
}

fn pack(folder: &Path, archive: &Path) {
    run(Command::new("tar").arg("-C").arg(folder).arg("-cf").arg(archive).arg("."));
}

/// Compiles the consumer and makes an archive of it as `docker save` does.
pub fn consumer(folder: &Path) -> PathBuf {
    let (root, image) = (folder.join("root"), folder.join("image"));
    for folder in [&root, &image] {
        std::fs::create_dir_all(folder).expect("a folder");
    }
    let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    // As image/rootfs.sh links the operator.
    let flags = ["-Clinker=rust-lld", "-Clink-self-contained=yes", "-Copt-level=s", "-Cstrip=symbols"];
    let source = repository().join("tests/pods/consumer.rs");
    let mut rustc = Command::new("rustc");
    rustc.args(["--edition=2024", "--target", &target]).args(flags).arg("-o");
    run(rustc.arg(root.join("consumer")).arg(source));

    pack(&root, &image.join("layer.tar"));
    let layer = std::fs::read(image.join("layer.tar")).expect("the layer");
    let mut digest = String::from("sha256:");
    for byte in Sha256::digest(layer) {
        write!(digest, "{byte:02x}").expect("a text");
    }
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = json!({
        "architecture": arch,
        "os": "linux",
        "config": { "Entrypoint": ["/consumer"], "User": "65532:65532" },
        "rootfs": { "type": "layers", "diff_ids": [digest] },
    });
    let manifest = json!([{ "Config": "config.json", "RepoTags": [CONSUMER], "Layers": ["layer.tar"] }]);
    for (name, value) in [("config.json", config), ("manifest.json", manifest)] {
        std::fs::write(image.join(name), value.to_string()).expect("a file of the image");
    }
    let archive = folder.join("consumer.tar");
    pack(&image, &archive);
    archive
}
