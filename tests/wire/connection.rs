//! Connections that take too long, break, or lead to nobody or to somebody else.

use std::time::{Duration, Instant};

use squadcast_operator::{api::Reason, squadcast::Proxies};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{PATIENT, SHORT, Setup, exchange, failure, host};
use crate::support::{Cut, Reply, Squadcast};

#[tokio::test]
async fn what_takes_too_long() {
    let squadcast = Squadcast::start();
    let client = Setup { timeout: SHORT, ..Setup::of(&squadcast) }.client();
    for reply in [
        Reply::silence(),
        Reply::token().delay(PATIENT),
        Reply::token().drip(Duration::from_millis(50)),
        Reply::error(401).drip(Duration::from_millis(50)).chunked(),
    ] {
        let began = Instant::now();
        let told = failure(&client, &squadcast, reply).await;
        assert_eq!(told.reason, Reason::Timeout, "{}", told.message);
        assert!(told.message.contains(&host(&squadcast)), "{}", told.message);
        assert!(began.elapsed() < PATIENT / 2);
    }
    // What its status says is known before its body is.
    let client = Setup { timeout: Duration::from_secs(5), ..Setup::of(&squadcast) }.client();
    let told = failure(&client, &squadcast, Reply::error(503).drip(Duration::from_secs(1))).await;
    assert_eq!(told.reason, Reason::ServiceUnavailable);
    let slow = Reply::error(429).retry_after("9").drip(Duration::from_secs(1));
    let told = failure(&client, &squadcast, slow).await;
    assert_eq!((told.reason, told.retry_after), (Reason::RateLimited, Some(Duration::from_secs(9))));
}

#[tokio::test]
async fn a_connection_that_nobody_takes_up() {
    // Its queue of connections is never emptied, so TLS gets no answer.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let setup = Setup { timeout: SHORT, ca_file: None, proxies: Proxies::none() };
    let told = exchange(&setup.client(), &format!("https://{}", listener.local_addr().unwrap())).await;
    assert_eq!(told.err().unwrap().reason, Reason::Timeout);
}

#[tokio::test]
async fn connections_that_break() {
    let squadcast = Squadcast::start();
    let client = Setup::of(&squadcast).client();
    for (reply, reason) in [
        (Reply::token().cut(Cut::BeforeHead), Reason::ConnectionFailed),
        (Reply::token().cut(Cut::InHead), Reason::ConnectionFailed),
        (Reply::token().cut(Cut::InBody), Reason::InvalidResponse),
        (Reply::token().cut(Cut::InBody).chunked(), Reason::InvalidResponse),
        (Reply::error(401).cut(Cut::InBody), Reason::InvalidResponse),
        (Reply::error(503).cut(Cut::InBody), Reason::ServiceUnavailable),
    ] {
        let told = failure(&client, &squadcast, reply.clone()).await;
        assert_eq!(told.reason, reason, "{reply:?}: {}", told.message);
    }
}

#[tokio::test]
async fn nobody_there() {
    let setup = || Setup { timeout: PATIENT, ca_file: None, proxies: Proxies::none() };
    let told = exchange(&setup().client(), "https://127.0.0.1:1").await.err().unwrap();
    assert_eq!(told.reason, Reason::ConnectionFailed);
    assert!(told.message.ends_with(": connection refused"), "{}", told.message);
    let told = exchange(&setup().client(), "https://squadcast.invalid").await.err().unwrap();
    assert_eq!(told.reason, Reason::ConnectionFailed);
    assert!(told.message.starts_with("the name of squadcast.invalid cannot be resolved"), "{}", told.message);
}

#[tokio::test]
async fn somebody_else_there() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 16]).await;
            let _ = stream.write_all(b"220 mail.example ESMTP\r\n\r\n").await;
        }
    });
    let client = Setup { timeout: PATIENT, ca_file: None, proxies: Proxies::none() }.client();
    let told = exchange(&client, &format!("http://{address}")).await.err().unwrap();
    assert_eq!(told.reason, Reason::InvalidResponse, "{}", told.message);
    let told = exchange(&client, &format!("https://{address}")).await.err().unwrap();
    assert_eq!(told.reason, Reason::ConnectionFailed, "{}", told.message);
}
