//! One operator's connection to the proxy: requests are read one by one, answers pass through.

use std::sync::Arc;
use std::time::Instant;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;

use super::{Asked, Fate, Shared, locked};

/// Serves connections until it is dropped.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let mut cuts = shared.cuts.subscribe();
        let connection =
            Connection { client: stream, upstream: None, unread: Vec::new(), shared: shared.clone() };
        tokio::spawn(async move {
            // A connection that was cut sends nothing more, whatever else has become ready since.
            tokio::select! {
                biased;
                _ = cuts.changed() => {}
                _ = connection.run() => {}
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
