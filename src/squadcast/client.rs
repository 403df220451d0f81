//! The edge to the network: one HTTP request for one exchange.
//!
//! May touch the network, the CA file and the clock. What an answer means is told elsewhere.

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use zeroize::Zeroizing;

use super::answer::{self, Body, MAX_BODY, Reply};
use super::{Failure, Grant, RefreshToken, Region};
use crate::api::Reason;

mod fault;
mod proxies;
mod roots;

pub use proxies::{InvalidProxy, Proxies};
pub use roots::InvalidCaFile;
use roots::Roots;

/// The longest a connection may take to be made, TLS and proxy included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an unused connection, which holds some 50 KB, is kept: long enough for many renewals in a row, no longer.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// How to reach Squadcast.
pub struct Settings {
    /// The longest a whole exchange may take.
    pub timeout: Duration,
    /// PEM certificates that are trusted besides the platform's; read again when the file changes.
    pub ca_file: Option<PathBuf>,
    /// The proxies to go through.
    pub proxies: Proxies,
}

/// Why there can be no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The CA file is of no use.
    #[error(transparent)]
    CaFile(#[from] InvalidCaFile),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The HTTP client cannot be built.
    #[error("the HTTP client cannot be built: {0}")]
    Http(#[from] reqwest::Error),
}

/// Makes exchanges.
pub struct Client {
    timeout: Duration,
    proxies: Proxies,
    current: Mutex<Current>,
}

/// The HTTP client in use, and the certificates that it trusts.
struct Current {
    roots: Roots,
    http: reqwest::Client,
}

impl Client {
    /// Reads the certificates and prepares the client; connects to nothing.
    pub fn new(settings: Settings) -> Result<Self, ClientError> {
        let Settings { timeout, ca_file, proxies } = settings;
        let roots = Roots::load(ca_file)?;
        let http = build(&roots, &proxies, timeout)?;
        Ok(Self { timeout, proxies, current: Mutex::new(Current { roots, http }) })
    }

    /// Exchanges a refresh token. Takes no longer than the timeout of the settings; when it is dropped, the
    /// connection is closed, but Squadcast may have granted a token already.
    pub async fn exchange(&self, region: &Region, token: &RefreshToken) -> Result<Grant, Failure> {
        let requested_at = Timestamp::now();
        let proxy = self.proxies.of(&region.exchange_url);
        let proxy = proxy.as_deref();
        let failed = |(reason, message)| Failure::unanswered(reason, message, requested_at);

        let Ok(mut header) = HeaderValue::from_str(token.expose()) else {
            let message = "the refresh token is not allowed in an HTTP header".to_owned();
            return Err(failed((Reason::RefreshTokenInvalid, message)));
        };
        header.set_sensitive(true);
        let request = self
            .http()
            .get(&region.exchange_url)
            .header("X-Refresh-Token", header)
            .header(ACCEPT, "application/json")
            .header(CACHE_CONTROL, "no-store");
        let deadline = tokio::time::Instant::now() + self.timeout;

        let response = match tokio::time::timeout_at(deadline, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(failed(fault::explain(&error, region, proxy))),
            Err(_) => return Err(failed(fault::timeout(self.timeout, region, proxy))),
        };
        let head_at = Timestamp::now();
        let status = response.status().as_u16();
        let headers = response.headers();
        let (content_type, retry_after, date) =
            (text(headers, CONTENT_TYPE), text(headers, RETRY_AFTER), text(headers, DATE));
        let body = match tokio::time::timeout_at(deadline, read(response)).await {
            Ok(Ok(body)) => body,
            _ if answer::is_told_by_status(status) => Body::BrokenOff,
            Ok(Err(error)) if !error.is_timeout() => Body::BrokenOff,
            _ => return Err(failed(fault::timeout(self.timeout, region, proxy))),
        };
        let reply = Reply { status, content_type, retry_after, date, head_at, body };
        answer::classify(reply, token, region, proxy, requested_at, Timestamp::now())
    }

    /// The HTTP client, built anew where the CA file has changed.
    fn http(&self) -> reqwest::Client {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let rebuilt = current.roots.reload().and_then(|changed| match changed {
            Some(roots) => {
                let http = build(&roots, &self.proxies, self.timeout)?;
                Ok(Some(Current { roots, http }))
            }
            None => Ok(None),
        });
        match rebuilt {
            Ok(Some(new)) => {
                tracing::info!("the CA file has changed and is in use");
                *current = new;
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "the CA file has changed but cannot be used; the former content stays");
            }
        }
        current.http.clone()
    }
}

fn build(roots: &Roots, proxies: &Proxies, timeout: Duration) -> Result<reqwest::Client, ClientError> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_root_certificates(roots.store())
        .with_no_client_auth();
    let chosen = proxies.clone();
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .http1_only()
        .user_agent(crate::USER_AGENT)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .proxy(reqwest::Proxy::custom(move |url| chosen.whole(url.as_str())))
        .connect_timeout(CONNECT_TIMEOUT.min(timeout))
        .pool_idle_timeout(IDLE_TIMEOUT)
        .build()?;
    Ok(client)
}

/// Reads a body, but not one that is too long.
async fn read(mut response: reqwest::Response) -> Result<Body, reqwest::Error> {
    // Room for all of it from the start: what grows leaves copies behind.
    let told = response.content_length().and_then(|length| usize::try_from(length).ok());
    let mut bytes = Zeroizing::new(Vec::with_capacity(told.map_or(MAX_BODY, |length| length.min(MAX_BODY))));
    while let Some(chunk) = response.chunk().await? {
        if bytes.len() + chunk.len() > MAX_BODY {
            return Ok(Body::TooLong);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Body::Whole(bytes))
}

fn text(headers: &HeaderMap, name: reqwest::header::HeaderName) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// The innermost I/O error's kind and words are what people look for.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}
