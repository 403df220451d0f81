//! The stand-in's side of a connection: reads requests and writes answers, byte by byte where that is asked for.

use std::sync::Arc;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::reply::{Cut, Reply};
use super::state::{Recorded, Shared, now};

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Serves connections until `tls` has no sender left; a change of `tls` closes those that are open.
pub(super) async fn serve(
    listener: TcpListener,
    mut tls: watch::Receiver<Option<Arc<ServerConfig>>>,
    shared: Arc<Shared>,
) {
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let config = tls.borrow_and_update().clone();
                let (shared, mut tls) = (shared.clone(), tls.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = connection(stream, config, shared) => {}
                        _ = tls.changed() => {}
                    }
                });
            }
            changed = tls.changed() => if changed.is_err() { return },
        }
    }
}

async fn connection(stream: TcpStream, config: Option<Arc<ServerConfig>>, shared: Arc<Shared>) {
    let peer = stream.peer_addr().map(|peer| peer.to_string()).unwrap_or_default();
    // An answer in several writes must not wait for the other side's acknowledgements.
    let _ = stream.set_nodelay(true);
    let (stream, version): (Box<dyn Stream>, _) = match config {
        None => (Box::new(stream), None),
        Some(config) => match TlsAcceptor::from(config).accept(stream).await {
            Ok(stream) => {
                let version = stream.get_ref().1.protocol_version().map(|version| format!("{version:?}"));
                (Box::new(stream), version)
            }
            Err(error) => {
                shared.handshake_failed(error.to_string());
                return;
            }
        },
    };
    let mut wire = Wire { stream, unread: Vec::new() };
    while let Some(mut request) = wire.request().await {
        request.peer.clone_from(&peer);
        request.tls.clone_from(&version);
        let (flight, reply) = shared.receive(request);
        let stays = wire.answer(&shared, flight.number, &reply).await;
        drop(flight);
        if stays.is_none_or(|stays| !stays) {
            break;
        }
    }
    let _ = wire.stream.shutdown().await;
}

struct Wire {
    stream: Box<dyn Stream>,
    unread: Vec<u8>,
}

impl Wire {
    async fn more(&mut self) -> Option<()> {
        let mut buffer = [0; 4096];
        let read = self.stream.read(&mut buffer).await.ok()?;
        self.unread.extend_from_slice(&buffer[..read]);
        (read > 0).then_some(())
    }

    /// The next request; `None` when the client has gone or says what no client says.
    async fn request(&mut self) -> Option<Recorded> {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at;
            }
            self.more().await?;
        };
        let head = String::from_utf8_lossy(&self.unread[..end]).into_owned();
        self.unread.drain(..end + 4);
        let mut lines = head.split("\r\n");
        let mut first = lines.next()?.split(' ');
        let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut request = Recorded::new(method, path, headers);
        let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        while self.unread.len() < length {
            self.more().await?;
        }
        request.body = self.unread.drain(..length).collect();
        Some(request)
    }

    /// Waits, but not longer than the client does.
    async fn while_client_waits(&mut self, work: impl Future<Output = ()>) -> Option<()> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                () = &mut work => return Some(()),
                read = self.more() => read?,
            }
        }
    }

    /// Writes an answer; says whether the connection stays open, `None` when the client has gone.
    async fn answer(&mut self, shared: &Shared, number: usize, reply: &Reply) -> Option<bool> {
        self.while_client_waits(tokio::time::sleep(reply.delay)).await?;
        if let Some(gate) = &reply.gate {
            self.while_client_waits(gate.passed()).await?;
        }
        match reply.cut {
            Some(Cut::Silence) => self.while_client_waits(std::future::pending()).await?,
            Some(Cut::BeforeHead) => return Some(false),
            _ => {}
        }
        let mut body = shared.body(number, reply);
        if reply.gzip {
            body = gzip(&body);
        }
        let head = head(reply, body.len());
        if reply.cut == Some(Cut::InHead) {
            self.write(&head.as_bytes()[..head.len() / 2]).await?;
            return Some(false);
        }
        shared.answered(number, reply.status);
        let end = if reply.cut == Some(Cut::InBody) { body.len() / 2 } else { body.len() };
        match reply.drip {
            Some(pause) => {
                self.write(head.as_bytes()).await?;
                for byte in &body[..end] {
                    self.while_client_waits(tokio::time::sleep(pause)).await?;
                    self.piece(&[*byte], reply.chunked).await?;
                }
            }
            None if reply.chunked => {
                self.write(head.as_bytes()).await?;
                for piece in body[..end].chunks(16 * 1024) {
                    self.piece(piece, true).await?;
                }
            }
            None => {
                self.write(&[head.as_bytes(), &body[..end]].concat()).await?;
            }
        }
        if reply.cut.is_some() {
            return Some(false);
        }
        if reply.chunked {
            self.write(b"0\r\n\r\n").await?;
        }
        Some(!reply.close)
    }

    async fn piece(&mut self, bytes: &[u8], chunked: bool) -> Option<()> {
        if chunked {
            self.write(&[format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()).await
        } else {
            self.write(bytes).await
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Option<()> {
        self.stream.write_all(bytes).await.ok()?;
        self.stream.flush().await.ok()
    }
}

fn head(reply: &Reply, length: usize) -> String {
    let mut head = format!("HTTP/1.1 {} Status\r\n", reply.status);
    let mut line = |name: &str, value: &str| {
        head.push_str(name);
        head.push_str(": ");
        head.push_str(value);
        head.push_str("\r\n");
    };
    if let Some(skew) = reply.date {
        line("Date", &http_date(now() + skew));
    }
    for (name, value) in &reply.headers {
        line(name, value);
    }
    if reply.gzip {
        line("Content-Encoding", "gzip");
    }
    if reply.chunked {
        line("Transfer-Encoding", "chunked");
    } else {
        line("Content-Length", &length.to_string());
    }
    if reply.close {
        line("Connection", "close");
    }
    head.push_str("\r\n");
    head
}

/// Unix seconds as HTTP writes them, `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn http_date(seconds: i64) -> String {
    let time = jiff::Timestamp::from_second(seconds).expect("a time that a date can show");
    jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&time).expect("a date")
}

/// gzip without compression: every reader takes it, and it needs no library.
fn gzip(body: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut pieces = body.chunks(0xffff).peekable();
    while let Some(piece) = pieces.next() {
        let length = u16::try_from(piece.len()).expect("at most 65535");
        out.push(u8::from(pieces.peek().is_none()));
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(piece);
    }
    let mut crc = u32::MAX;
    for byte in body {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    out.extend((!crc).to_le_bytes());
    out.extend(u32::try_from(body.len()).expect("below 4 GiB").to_le_bytes());
    out
}
