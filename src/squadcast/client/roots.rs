//! Which certificates are trusted: the platform's, or Mozilla's where it has none, and those of `--ca-file`.
//! Reads files.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::{ClientError, plain};

/// Why a CA file is of no use.
#[derive(Debug, thiserror::Error)]
#[error("the CA file \"{}\": {problem}", path.display())]
pub struct InvalidCaFile {
    path: PathBuf,
    problem: String,
}

/// The trusted certificates.
pub(super) struct Roots {
    platform: Arc<RootCertStore>,
    file: Option<CaFile>,
}

/// A CA file as it was read.
struct CaFile {
    path: PathBuf,
    stamp: Option<Stamp>,
    store: Arc<RootCertStore>,
}

/// Changes with the file, also where a symbolic link on the way to it does.
#[derive(Clone, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    identity: (u64, u64),
}

impl Roots {
    /// Reads all of them.
    pub(super) fn load(ca_file: Option<PathBuf>) -> Result<Self, ClientError> {
        let platform = Arc::new(platform());
        let file = ca_file.map(CaFile::read).transpose()?;
        Ok(Self { platform, file })
    }

    /// All in one store.
    pub(super) fn store(&self) -> Arc<RootCertStore> {
        let Some(file) = &self.file else { return self.platform.clone() };
        let mut store = (*self.platform).clone();
        store.extend(file.store.roots.iter().cloned());
        Arc::new(store)
    }

    /// Reads the CA file again where it has changed; tells of each change once, also where it is of no use.
    pub(super) fn reload(&mut self) -> Result<Option<Self>, ClientError> {
        let Some(file) = &mut self.file else { return Ok(None) };
        let stamp = Stamp::of(&file.path);
        if stamp == file.stamp {
            return Ok(None);
        }
        file.stamp = stamp;
        let new = CaFile::read(file.path.clone())?;
        Ok(Some(Self { platform: self.platform.clone(), file: Some(new) }))
    }
}

impl CaFile {
    fn read(path: PathBuf) -> Result<Self, InvalidCaFile> {
        // Before the content: a change between the two is then seen the next time.
        let stamp = Stamp::of(&path);
        match certificates(&path) {
            Ok(store) => Ok(Self { path, stamp, store: Arc::new(store) }),
            Err(problem) => Err(InvalidCaFile { path, problem }),
        }
    }
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            modified: metadata.modified().ok(),
            length: metadata.len(),
            identity: identity(&metadata),
        })
    }
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> (u64, u64) {
    (0, 0)
}

fn certificates(path: &Path) -> Result<RootCertStore, String> {
    let content = fs::read(path).map_err(|error| format!("it cannot be read: {}", plain(&error)))?;
    let certificates: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(&content)
        .collect::<Result<_, _>>()
        .map_err(|_| "it is no PEM file".to_owned())?;
    if certificates.is_empty() {
        return Err("it holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)".to_owned());
    }
    let mut store = RootCertStore::empty();
    let (added, ignored) = store.add_parsable_certificates(certificates);
    if added == 0 {
        return Err("it holds no certificate that can be read".to_owned());
    }
    if ignored > 0 {
        tracing::warn!(file = %path.display(), ignored, "certificates of the CA file cannot be read");
    }
    Ok(store)
}

fn platform() -> RootCertStore {
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        tracing::debug!("the platform has no certificates; Mozilla's are used");
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    store
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem() -> String {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
    }

    fn problem(path: &Path) -> String {
        Roots::load(Some(path.to_owned())).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn without_a_file_there_are_roots() {
        assert!(!Roots::load(None).unwrap().store().is_empty());
    }

    #[test]
    fn a_file_adds_to_the_platforms() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        fs::write(&path, format!("# two\n{}{}", pem(), pem())).unwrap();
        let roots = Roots::load(Some(path)).unwrap();
        assert_eq!(roots.store().len(), roots.platform.len() + 2);
    }

    #[test]
    fn files_of_no_use() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        assert!(problem(&path).contains("cannot be read: no such file"), "{}", problem(&path));
        fs::write(&path, "").unwrap();
        assert!(problem(&path).contains("holds no certificate in PEM form"), "{}", problem(&path));
        fs::write(&path, &pem()[..200]).unwrap();
        assert!(problem(&path).contains("no PEM file"), "{}", problem(&path));
        fs::write(&path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        assert!(problem(&path).contains("no certificate that can be read"), "{}", problem(&path));
        assert!(problem(&path).starts_with(&format!("the CA file \"{}\": ", path.display())));
    }

    #[test]
    fn a_change_is_seen_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        fs::write(&path, pem()).unwrap();
        let mut roots = Roots::load(Some(path.clone())).unwrap();
        assert!(roots.reload().unwrap().is_none());
        fs::write(&path, "broken").unwrap();
        assert!(roots.reload().is_err());
        assert!(roots.reload().unwrap().is_none());
        fs::remove_file(&path).unwrap();
        assert!(roots.reload().is_err());
        assert!(roots.reload().unwrap().is_none());
        fs::write(&path, format!("{}{}", pem(), pem())).unwrap();
        let roots = roots.reload().unwrap().unwrap();
        assert_eq!(roots.store().len(), roots.platform.len() + 2);
    }
}
