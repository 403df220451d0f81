//! The endpoints for people and probes: `/livez`, `/readyz`, `/metrics`. Listens on one address.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use axum::{Router, extract::State, http::StatusCode, http::header::CONTENT_TYPE, routing::get};
use thiserror::Error;
use tokio::{net::TcpListener, time::Instant};

use super::{
    health::{Heartbeat, Readiness},
    metrics::{self, Metrics},
};

/// How long an answer under way may take once the process stops.
const GRACE: Duration = Duration::from_secs(2);

/// Where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// On this port of every address, IPv6 and IPv4, or of IPv4 alone where there is no IPv6. Written
    /// `:PORT`.
    Everywhere(u16),
    /// On this address only.
    At(SocketAddr),
}

impl Default for Listen {
    fn default() -> Self {
        Self::Everywhere(8080)
    }
}

impl FromStr for Listen {
    type Err = InvalidListen;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let everywhere = text.strip_prefix(':').map(|port| port.parse().map(Self::Everywhere));
        match everywhere {
            Some(Ok(listen)) => Ok(listen),
            Some(Err(_)) => Err(InvalidListen(text.to_owned())),
            None => text.parse().map(Self::At).map_err(|_| InvalidListen(text.to_owned())),
        }
    }
}

/// The text is no address to listen on.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("\"{0}\" is no address to listen on; write IP:PORT, [IPV6]:PORT or :PORT")]
pub struct InvalidListen(String);

/// The address cannot be listened on.
#[derive(Debug, Error)]
#[error("cannot listen on {address} ({source}); choose a free address with --listen")]
pub struct BindError {
    address: String,
    source: io::Error,
}

/// Starts to listen.
pub async fn bind(listen: Listen) -> Result<TcpListener, BindError> {
    let fail = |address: String| move |source| BindError { address, source };
    match listen {
        Listen::At(address) => TcpListener::bind(address).await.map_err(fail(address.to_string())),
        Listen::Everywhere(port) => {
            let six = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
            let four = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
            match TcpListener::bind(six).await {
                Ok(listener) => Ok(listener),
                Err(_) => TcpListener::bind(four).await.map_err(fail(format!("{six} or {four}"))),
            }
        }
    }
}

/// What the endpoints tell of.
#[derive(Clone, Debug)]
pub struct Endpoints {
    /// Behind `/readyz`.
    pub readiness: Readiness,
    /// Behind `/livez`.
    pub heartbeat: Heartbeat,
    /// Behind `/metrics`.
    pub metrics: Arc<Metrics>,
}

/// Answers until `stop`, then lets answers under way end, for 2 s at most.
///
/// Fails where the listener does.
pub async fn serve(
    listener: TcpListener,
    endpoints: Endpoints,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let router = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(show_metrics))
        .with_state(endpoints);
    let (stopping, stopped) = tokio::sync::oneshot::channel();
    let signal = async move {
        stop.await;
        // Nobody listens any more where serving has failed.
        let _ = stopping.send(());
    };
    let serving = axum::serve(listener, router).with_graceful_shutdown(signal).into_future();
    let patience = async {
        match stopped.await {
            Ok(()) => tokio::time::sleep(GRACE).await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        served = serving => served,
        () = patience => Ok(()),
    }
}

async fn livez(State(endpoints): State<Endpoints>) -> (StatusCode, &'static str) {
    if endpoints.heartbeat.is_alive(Instant::now()) {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the main loop is stuck\n")
    }
}

async fn readyz(State(endpoints): State<Endpoints>) -> (StatusCode, String) {
    let waiting = endpoints.readiness.waiting();
    if waiting.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, waiting.join("\n") + "\n")
    }
}

async fn show_metrics(State(endpoints): State<Endpoints>) -> ([(http::HeaderName, &'static str); 1], String) {
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], endpoints.metrics.encode())
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;
    use crate::ops::{health::SILENCE, shutdown::Shutdown};

    fn endpoints() -> Endpoints {
        Endpoints {
            readiness: Readiness::default(),
            heartbeat: Heartbeat::default(),
            metrics: Arc::new(Metrics::new(jiff::Timestamp::UNIX_EPOCH)),
        }
    }

    async fn ask(address: SocketAddr, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        (answer[9..12].parse().unwrap(), answer)
    }

    async fn local() -> TcpListener {
        bind(Listen::At(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))).await.unwrap()
    }

    #[tokio::test]
    async fn tells_what_it_waits_for() {
        let (endpoints, shutdown) = (endpoints(), Shutdown::default());
        let listener = local().await;
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, endpoints.clone(), shutdown.requested()));

        endpoints.readiness.waits("watch of Secrets", "no first list yet");
        endpoints.readiness.waits("custom resource", "not installed");
        let (status, text) = ask(address, "/readyz").await;
        assert_eq!(status, 503);
        assert!(text.ends_with("custom resource: not installed\nwatch of Secrets: no first list yet\n"));
        endpoints.readiness.has("watch of Secrets");
        endpoints.readiness.has("custom resource");
        let (status, text) = ask(address, "/readyz").await;
        assert_eq!(status, 200);
        assert!(text.ends_with("\r\n\r\nok\n"));

        assert_eq!(ask(address, "/livez").await.0, 200);
        assert_eq!(ask(address, "/elsewhere").await.0, 404);
        let (status, text) = ask(address, "/metrics").await;
        assert_eq!(status, 200);
        assert!(text.contains("content-type: text/plain; version=0.0.4"), "{text}");
        assert!(text.contains("\nsquadcast_operator_leader 0\n"), "{text}");

        shutdown.request();
        server.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_client_that_never_finishes_does_not_hold_up_the_end() {
        let listener = local().await;
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::default();
        let server = tokio::spawn(serve(listener, endpoints(), shutdown.requested()));
        let mut lazy = TcpStream::connect(address).await.unwrap();
        lazy.write_all(b"GET /livez HT").await.unwrap();
        assert_eq!(ask(address, "/livez").await.0, 200);
        shutdown.request();
        tokio::time::timeout(GRACE * 3, server).await.unwrap().unwrap().unwrap();
    }

    #[tokio::test]
    async fn not_alive_once_the_loop_is_silent() {
        let endpoints = endpoints();
        assert_eq!(livez(State(endpoints.clone())).await.0, StatusCode::OK);
        if let Some(long_ago) = Instant::now().checked_sub(SILENCE) {
            endpoints.heartbeat.beat(long_ago);
            assert_eq!(livez(State(endpoints)).await.0, StatusCode::SERVICE_UNAVAILABLE);
        }
    }

    #[tokio::test]
    async fn a_taken_address_is_named() {
        let address = local().await.local_addr().unwrap();
        let taken = TcpListener::bind(address).await.unwrap();
        let error = bind(Listen::At(address)).await.unwrap_err().to_string();
        assert!(error.contains(&address.to_string()) && error.contains("--listen"), "{error}");
        drop(taken);
    }

    #[test]
    fn addresses() {
        assert_eq!(":9090".parse(), Ok(Listen::Everywhere(9090)));
        assert_eq!("127.0.0.1:1".parse(), Ok(Listen::At(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)))));
        assert_eq!("[::]:8080".parse(), Ok(Listen::At(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 8080)))));
        for bad in ["", ":", "8080", "localhost:8080", ":70000", "1.2.3.4"] {
            let error = bad.parse::<Listen>().unwrap_err().to_string();
            assert!(error.contains(&format!("\"{bad}\"")) && error.contains("IP:PORT"), "{error}");
        }
    }
}
