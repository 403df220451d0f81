//! A reverse proxy between one operator and the API server. It sees every request, and forwards, holds, answers or
//! cuts each as a test says, so that a process can be ended between any two of its steps.
//!
//! The operator speaks plain HTTP to it; it speaks TLS to the API server, with the certificate of the operator's user.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

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

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let mut cuts = shared.cuts.subscribe();
        let connection =
            Connection { client: stream, upstream: None, unread: Vec::new(), shared: shared.clone() };
        tokio::spawn(async move {
            tokio::select! {
                _ = connection.run() => {}
                _ = cuts.changed() => {}
            }
        });
    }
}

struct Connection {
    client: TcpStream,
    upstream: Option<TlsStream<TcpStream>>,
    unread: Vec<u8>,
    shared: Arc<Shared>,
}

impl Connection {
    /// Runs until one side ends the connection.
    async fn run(mut self) -> Option<()> {
        loop {
            let (request, asked) = self.request().await?;
            let number = {
                let mut all = locked(&self.shared.asked);
                all.push(asked.clone());
                all.len() - 1
            };
            self.thaw().await?;
            let rule = locked(&self.shared.rule).clone();
            let fate = rule(&asked);
            match fate {
                Fate::CutRequest => return None,
                Fate::Answer(status, header) => {
                    self.client.write_all(answer(status, header).as_bytes()).await.ok()?;
                    continue;
                }
                Fate::Event(event) => {
                    let head =
                        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n";
                    self.client.write_all(format!("{head}{event}\n").as_bytes()).await.ok()?;
                    return None;
                }
                Fate::HoldRequest => self.hold().await?,
                Fate::Forward | Fate::HoldAnswer | Fate::CutAnswer(_) => {}
            }
            self.forward(&request).await?;
            let first = self.answer_begins().await?;
            locked(&self.shared.asked)[number].answered = Some(Instant::now());
            match fate {
                Fate::HoldAnswer => self.hold().await?,
                Fate::CutAnswer(bytes) => {
                    self.client.write_all(&first[..bytes.min(first.len())]).await.ok()?;
                    return None;
                }
                _ => {}
            }
            self.thaw().await?;
            self.client.write_all(&first).await.ok()?;
        }
    }

    /// The next request; passes on what is left of the answer before it.
    async fn request(&mut self) -> Option<(Vec<u8>, Asked)> {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            self.pass().await?;
        };
        let head = String::from_utf8_lossy(&self.unread[..end]).into_owned();
        let mut first = head.split([' ', '\r']);
        let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        let whole = end + length.unwrap_or(0);
        while self.unread.len() < whole {
            self.pass().await?;
        }
        let request: Vec<u8> = self.unread.drain(..whole).collect();
        let body = String::from_utf8_lossy(&request[end..]).into_owned();
        Some((request, Asked { at: Instant::now(), method, path, body, answered: None }))
    }

    /// Reads from either side; what the API server says goes on to the operator.
    async fn pass(&mut self) -> Option<()> {
        let (mut ours, mut theirs) = ([0; 2048], [0; 8192]);
        let upstream = async {
            match &mut self.upstream {
                Some(upstream) => upstream.read(&mut theirs).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            read = self.client.read(&mut ours) => {
                let read = read.ok().filter(|read| *read > 0)?;
                self.unread.extend_from_slice(&ours[..read]);
            }
            read = upstream => {
                let read = read.ok().filter(|read| *read > 0)?;
                self.thaw().await?;
                self.client.write_all(&theirs[..read]).await.ok()?;
            }
        }
        Some(())
    }

    async fn forward(&mut self, request: &[u8]) -> Option<()> {
        if self.upstream.is_none() {
            let stream = TcpStream::connect(&self.shared.upstream).await.ok()?;
            let _ = stream.set_nodelay(true);
            let name = ServerName::try_from("127.0.0.1").ok()?;
            self.upstream = Some(self.shared.connector.connect(name, stream).await.ok()?);
        }
        let upstream = self.upstream.as_mut()?;
        upstream.write_all(request).await.ok()?;
        upstream.flush().await.ok()
    }

    /// The first bytes of the answer. Ends when the operator goes.
    async fn answer_begins(&mut self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 16384];
        loop {
            let upstream = self.upstream.as_mut()?;
            let mut more = [0; 2048];
            tokio::select! {
                read = upstream.read(&mut buffer) => {
                    let read = read.ok().filter(|read| *read > 0)?;
                    buffer.truncate(read);
                    return Some(buffer);
                }
                read = self.client.read(&mut more) => {
                    let read = read.ok().filter(|read| *read > 0)?;
                    self.unread.extend_from_slice(&more[..read]);
                }
            }
        }
    }

    /// Waits until released, or `None` when the operator has gone.
    async fn hold(&mut self) -> Option<()> {
        let mut released = self.shared.released.subscribe();
        released.mark_unchanged();
        self.shared.held.send_modify(|held| *held += 1);
        self.while_there(async move { drop(released.changed().await) }).await
    }

    async fn thaw(&mut self) -> Option<()> {
        let mut frozen = self.shared.frozen.subscribe();
        if !*frozen.borrow_and_update() {
            return Some(());
        }
        self.while_there(async move { drop(frozen.wait_for(|frozen| !frozen).await) }).await
    }

    async fn while_there(&mut self, wait: impl Future<Output = ()>) -> Option<()> {
        tokio::pin!(wait);
        let mut more = [0; 2048];
        loop {
            tokio::select! {
                () = &mut wait => return Some(()),
                read = self.client.read(&mut more) => {
                    let read = read.ok().filter(|read| *read > 0)?;
                    self.unread.extend_from_slice(&more[..read]);
                }
            }
        }
    }
}

/// An answer as the API server writes one.
fn answer(status: u16, header: &str) -> String {
    let reason = match status {
        410 => "Expired",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "InternalError",
    };
    let body = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "the test's proxy says so", "reason": reason, "code": status,
    })
    .to_string();
    let length = body.len();
    format!(
        "HTTP/1.1 {status} Status\r\nContent-Type: application/json\r\n{header}Content-Length: {length}\r\n\r\n{body}"
    )
}
