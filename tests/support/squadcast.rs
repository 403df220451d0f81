//! A stand-in for Squadcast's auth service, after its published description, that also misbehaves on demand.
//!
//! It knows the refresh tokens that have a script; any other is answered with 401. Each access token it mints
//! is unique and names no refresh token, and it can tell whether and for which one it was minted.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use tokio::sync::watch;

use super::install_crypto;
use super::pki::Ca;

mod reply;
mod script;
mod state;
mod wire;
pub use reply::{Cut, Reply};
pub use script::{Gate, Script};
pub use state::{CANARY, Minted, Recorded};
use state::{Shared, now};
pub use wire::http_date;

/// Whom its certificate is for: this machine, and the address at which Pods find it where there are Pods.
pub const NAMES: [&str; 4] = ["127.0.0.1", "::1", "localhost", "10.96.0.1"];

/// What a client finds when it connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// A certificate for [`NAMES`] by the authority in [`Squadcast::ca_pem`].
    Valid,
    Expired,
    WrongHost,
    /// A certificate by an authority that nobody knows.
    UnknownCa,
    /// A good one, and nothing newer than TLS 1.2.
    Only12,
    /// Plain HTTP.
    Off,
}

/// A running stand-in; it ends when dropped.
pub struct Squadcast {
    shared: Arc<Shared>,
    tls: Option<watch::Sender<Option<Arc<ServerConfig>>>>,
    thread: Option<std::thread::JoinHandle<()>>,
    folder: tempfile::TempDir,
    ca: Mutex<Ca>,
    url: String,
}

impl Squadcast {
    pub fn start() -> Self {
        Self::start_with(Tls::Valid)
    }

    pub fn start_with(kind: Tls) -> Self {
        Self::start_on("127.0.0.1", kind)
    }

    /// At an address among [`NAMES`].
    pub fn start_on(address: &str, kind: Tls) -> Self {
        install_crypto();
        let ca = Ca::new("authority of the stand-in");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = server_config(&ca, kind);
        let listener = std::net::TcpListener::bind((address, 0)).expect("a port");
        listener.set_nonblocking(true).expect("a listener for tokio");
        let scheme = if config.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().expect("an address"));
        let shared = Arc::new(Shared { state: Mutex::default(), arrivals: watch::Sender::new(0) });
        let (tls, receiver) = watch::channel(config);
        let served = shared.clone();
        // A thread with a runtime of its own: tests share a stand-in, and each of them has its own runtime.
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                wire::serve(listener, receiver, served).await;
            });
        });
        let standin = Self { shared, tls: Some(tls), thread: Some(thread), folder, ca: Mutex::new(ca), url };
        standin.write_ca_file();
        standin
    }

    /// The base of the exchange, without a path.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The certificate authority to trust.
    pub fn ca_pem(&self) -> String {
        self.ca.lock().unwrap_or_else(PoisonError::into_inner).pem().to_owned()
    }

    /// A file with [`Squadcast::ca_pem`], as of the start or of the last [`Squadcast::write_ca_file`].
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub fn write_ca_file(&self) {
        std::fs::write(self.ca_file(), self.ca_pem()).expect("the authority's file");
    }

    /// From now on another authority's certificate; open connections close. The file stays as it is.
    pub fn change_ca(&self) {
        let ca = Ca::new("next authority of the stand-in");
        self.present(server_config(&ca, Tls::Valid));
        *self.ca.lock().unwrap_or_else(PoisonError::into_inner) = ca;
    }

    /// From now on a certificate of this kind; open connections close.
    pub fn change_certificate(&self, kind: Tls) {
        let config = server_config(&self.ca.lock().unwrap_or_else(PoisonError::into_inner), kind);
        self.present(config);
    }

    fn present(&self, config: Option<Arc<ServerConfig>>) {
        if let Some(tls) = &self.tls {
            tls.send_replace(config);
        }
    }

    /// What this refresh token is answered from now on. Only one with a script is known.
    pub fn script(&self, refresh_token: &str, script: impl Into<Script>) {
        self.shared.state().scripts.insert(refresh_token.to_owned(), script.into());
    }

    /// Makes a refresh token known that gets a new good token each time.
    pub fn accept(&self, refresh_token: &str) {
        self.script(refresh_token, Reply::token());
    }

    /// From now on 401, and no token minted from it is good.
    pub fn revoke(&self, refresh_token: &str) {
        self.shared.state().scripts.remove(refresh_token);
    }

    /// The refresh token that is good where this one was replaced, perhaps several times.
    pub fn newest(&self, refresh_token: &str) -> String {
        let state = self.shared.state();
        let mut newest = refresh_token;
        while let Some(next) = state.replaced.get(newest) {
            newest = next;
        }
        newest.to_owned()
    }

    /// The requests with this refresh token, in the order in which they came.
    pub fn requests(&self, refresh_token: &str) -> Vec<Recorded> {
        let state = self.shared.state();
        state.requests.iter().filter(|request| request.refresh_token == refresh_token).cloned().collect()
    }

    pub fn all_requests(&self) -> Vec<Recorded> {
        self.shared.state().requests.clone()
    }

    pub fn count(&self, refresh_token: &str) -> usize {
        let state = self.shared.state();
        state.requests.iter().filter(|request| request.refresh_token == refresh_token).count()
    }

    /// Waits until so many requests with this refresh token have come, whether answered or not.
    pub async fn wait_for_count(&self, refresh_token: &str, count: usize, patience: Duration) {
        let mut arrivals = self.shared.arrivals.subscribe();
        let enough = arrivals.wait_for(|_| self.count(refresh_token) >= count);
        let came = tokio::time::timeout(patience, enough).await.is_ok();
        let seen = self.count(refresh_token);
        assert!(
            came,
            "waited {patience:?} in vain for {count} exchanges with one refresh token; {seen} came"
        );
    }

    /// The most requests that were in hand at one time.
    pub fn most_in_flight(&self) -> usize {
        self.shared.state().most_in_flight
    }

    /// Why connections ended before a request, like a client that does not trust the certificate.
    pub fn failed_handshakes(&self) -> Vec<String> {
        self.shared.state().failed_handshakes.clone()
    }

    /// What was minted for a refresh token, oldest first.
    pub fn minted(&self, refresh_token: &str) -> Vec<Minted> {
        let state = self.shared.state();
        state.minted.iter().filter(|minted| minted.refresh_token == refresh_token).cloned().collect()
    }

    /// The record of an access token, `None` if this stand-in never minted it.
    pub fn minted_as(&self, access_token: &str) -> Option<Minted> {
        self.shared.state().minted.iter().rev().find(|minted| minted.access_token == access_token).cloned()
    }

    /// Whether Squadcast's API would take this access token now.
    pub fn is_good(&self, access_token: &str) -> bool {
        self.minted_as(access_token).is_some_and(|minted| {
            minted.expires_at > now() && self.shared.state().scripts.contains_key(&minted.refresh_token)
        })
    }
}

impl Drop for Squadcast {
    fn drop(&mut self) {
        // Without a sender the server's loop ends, and with its runtime every connection.
        self.tls = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn server_config(ca: &Ca, kind: Tls) -> Option<Arc<ServerConfig>> {
    let identity = match kind {
        Tls::Off => return None,
        Tls::Valid | Tls::Only12 => ca.server(&NAMES, false),
        Tls::Expired => ca.server(&NAMES, true),
        Tls::WrongHost => ca.server(&["elsewhere.example"], false),
        Tls::UnknownCa => Ca::new("authority that nobody knows").server(&NAMES, false),
    };
    let chain = vec![CertificateDer::from(identity.cert_der)];
    let key = PrivateKeyDer::try_from(identity.key_der).expect("a private key");
    let versions: &[_] = if kind == Tls::Only12 { &[&TLS12] } else { &[&TLS12, &TLS13] };
    let builder = ServerConfig::builder_with_protocol_versions(versions).with_no_client_auth();
    let mut config = builder.with_single_cert(chain, key).expect("a certificate");
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Some(Arc::new(config))
}
