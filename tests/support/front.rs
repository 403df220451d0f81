//! A reverse proxy between one operator and the API server. It sees every request, and forwards, holds, answers or
//! cuts each as a test says, so that a process can be ended between any two of its steps.
//!
//! The operator speaks plain HTTP to it; it speaks TLS to the API server, with the certificate of the operator's user.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

mod connection;
use connection::serve;

/// A request of the operator's.
#[derive(Debug, Clone)]
pub struct Asked {
    pub at: Instant,
    pub method: String,
    /// With its query.
    pub path: String,
    pub body: String,
    /// When the answer began.
    pub answered: Option<Instant>,
}

impl Asked {
    pub fn is_watch(&self) -> bool {
        self.path.contains("watch=true")
    }

    pub fn is_write(&self) -> bool {
        self.method != "GET"
    }

    /// It names this object, in its path or its body.
    pub fn names(&self, name: &str) -> bool {
        self.path.contains(name) || self.body.contains(name)
    }

    /// About the Lease of the leader election.
    pub fn is_lease(&self) -> bool {
        self.path.contains("/leases")
    }
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    Forward,
    /// It is not forwarded until [`Front::let_go`].
    HoldRequest,
    /// It is forwarded; its answer is not until [`Front::let_go`].
    HoldAnswer,
    /// The connection ends instead.
    CutRequest,
    /// It is forwarded, and the connection ends after so many bytes of the answer.
    CutAnswer(usize),
    /// This status and these lines of a header are the answer, with a body as the API server writes it.
    Answer(u16, &'static str),
    /// The answer is a stream of watch events with this one event.
    Event(&'static str),
}

type Rule = dyn Fn(&Asked) -> Fate + Send + Sync;

struct Shared {
    rule: Mutex<Arc<Rule>>,
    asked: Mutex<Vec<Asked>>,
    /// How many requests are or were held.
    held: watch::Sender<usize>,
    released: watch::Sender<u64>,
    cuts: watch::Sender<u64>,
    frozen: watch::Sender<bool>,
    connector: TlsConnector,
    upstream: String,
}

/// A running proxy; it ends when dropped.
pub struct Front {
    shared: Arc<Shared>,
    kubeconfig: PathBuf,
    url: String,
    end: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Front {
    /// For the API server at `upstream` (`host:port`), as the user whose certificate `config` holds.
    pub fn start(upstream: String, config: rustls::ClientConfig, kubeconfig: PathBuf) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a listener for tokio");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let shared = Arc::new(Shared {
            rule: Mutex::new(Arc::new(|_: &Asked| Fate::Forward)),
            asked: Mutex::default(),
            held: watch::Sender::new(0),
            released: watch::Sender::new(0),
            cuts: watch::Sender::new(0),
            frozen: watch::Sender::new(false),
            connector: TlsConnector::from(Arc::new(config)),
            upstream,
        });
        let (end, ended) = tokio::sync::oneshot::channel();
        let served = shared.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener");
                tokio::select! {
                    () = serve(listener, served) => {}
                    _ = ended => {}
                }
            });
        });
        let config = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
            "clusters": [{ "name": "test", "cluster": { "server": url } }],
            "users": [{ "name": "test", "user": {} }],
        });
        std::fs::write(&kubeconfig, config.to_string()).expect("a kubeconfig file");
        Self { shared, kubeconfig, url, end: Some(end), thread: Some(thread) }
    }

    /// What leads an operator here.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on `rule` says what becomes of each request.
    pub fn rule(&self, rule: impl Fn(&Asked) -> Fate + Send + Sync + 'static) {
        *locked(&self.shared.rule) = Arc::new(rule);
    }

    /// From now on all is forwarded; what was held goes on.
    pub fn let_go(&self) {
        self.rule(|_| Fate::Forward);
        self.shared.released.send_modify(|count| *count += 1);
    }

    /// Ends all connections that are open now, watches among them.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|count| *count += 1);
    }

    /// While frozen nothing passes in either direction, and no connection ends: as when packets get lost.
    pub fn freeze(&self, frozen: bool) {
        self.shared.frozen.send_replace(frozen);
    }

    /// All requests so far, answered or not.
    pub fn asked(&self) -> Vec<Asked> {
        locked(&self.shared.asked).clone()
    }

    /// Waits until so many requests in all have been held.
    pub async fn wait_held(&self, count: usize, patience: Duration) {
        let mut held = self.shared.held.subscribe();
        let came = tokio::time::timeout(patience, held.wait_for(|held| *held >= count)).await;
        let asked: Vec<_> = self.asked().into_iter().map(|a| format!("{} {}", a.method, a.path)).collect();
        assert!(came.is_ok(), "waited {patience:?} in vain for request {count} to be held: {asked:#?}");
    }

    /// How many requests have been held.
    pub fn held(&self) -> usize {
        *self.shared.held.borrow()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
