//! The image of these sources, and its program in a root file system that holds nothing else.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;

use crate::support::controlplane::repository;

/// An image, its archive unpacked.
pub struct Image {
    pub archive: PathBuf,
    pub manifest: Value,
    pub config: Value,
    pub files: Vec<String>,
    pub folder: tempfile::TempDir,
}

pub fn build(archive: &Path) {
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
pub fn image() -> &'static Image {
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
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// A program that starts that of the image in its root, as its user where we may choose one.
    pub fn entry(&self) -> PathBuf {
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

    pub async fn run(&self, args: &[&str], refresh_token: &str) -> Output {
        let mut command = tokio::process::Command::new(self.entry());
        command.args(args).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.env("SQUADCAST_REFRESH_TOKEN", refresh_token);
        command.output().await.unwrap()
    }

    /// A file for the program at this place of the image's root.
    pub fn place(&self, path: &str, text: &[u8]) -> String {
        let path = format!("/{}", path.trim_start_matches('/'));
        let root = self.root();
        let file = root.join(&path[1..]);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
        // For the user of the image.
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        for folder in file.ancestors().skip(1).take_while(|folder| **folder != root) {
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        path
    }
}
