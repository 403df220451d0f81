//! An HTTP proxy for `HTTPS_PROXY`: forwards, or answers by itself as a firewall does.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

#[derive(Default)]
struct Seen {
    connects: Mutex<Vec<String>>,
    ended: AtomicBool,
}

/// What it answers instead of forwarding, and to whom it does not forward; none: to nobody.
#[derive(Clone)]
struct Refusal {
    target: Option<String>,
    answer: String,
}

/// A running proxy. Dropping it ends it for new connections.
pub struct Proxy {
    address: String,
    seen: Arc<Seen>,
}

impl Proxy {
    /// One that forwards to wherever a client wants to.
    pub fn start() -> Self {
        Self::serve(None)
    }

    /// One that forwards, but not to `host:port`.
    pub fn refusing_one(target: &str, status: u16) -> Self {
        let refusal = format!("HTTP/1.1 {status} Status\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        Self::serve(Some(Refusal { target: Some(target.to_owned()), answer: refusal }))
    }

    /// One that gives every request this answer.
    pub fn refusing(status: u16, content_type: &str, body: &str) -> Self {
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status} Status\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n{body}"
        );
        Self::serve(Some(Refusal { target: None, answer }))
    }

    fn serve(refusal: Option<Refusal>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let seen = Arc::new(Seen::default());
        let shared = seen.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.ended.load(Ordering::SeqCst) {
                    return;
                }
                let (seen, refusal) = (shared.clone(), refusal.clone());
                // A connection that breaks off is the client's to notice.
                thread::spawn(move || drop(connection(stream, &seen, refusal.as_ref())));
            }
        });
        Self { address, seen }
    }

    /// What `HTTPS_PROXY` is set to.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where clients wanted to go, as `host:port`.
    pub fn connects(&self) -> Vec<String> {
        self.seen.connects.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.seen.ended.store(true, Ordering::SeqCst);
        // A last connection makes the listener look.
        let _ = TcpStream::connect(&self.address);
    }
}

fn connection(client: TcpStream, seen: &Seen, refusal: Option<&Refusal>) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let target = first.split(' ').nth(1).unwrap_or_default().to_owned();
    seen.connects.lock().unwrap_or_else(PoisonError::into_inner).push(target.clone());
    let mut client = client;
    if let Some(refusal) = refusal.filter(|r| r.target.as_ref().is_none_or(|refused| *refused == target)) {
        return client.write_all(refusal.answer.as_bytes());
    }
    let Ok(server) = TcpStream::connect(&target) else {
        return client.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
    };
    client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
    let (mut to_server, mut from_server, mut to_client) = (server.try_clone()?, server, client);
    thread::spawn(move || {
        let _ = std::io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    std::io::copy(&mut reader, &mut to_server)?;
    to_server.shutdown(Shutdown::Both)
}
