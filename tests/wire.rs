//! The exchange client against a stand-in for Squadcast that misbehaves in every way there is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test fails")]

mod support;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use squadcast_operator::api::Reason;
use squadcast_operator::squadcast::{
    Ask, Client, ClientError, Exchanges, Failure, Grant, Outcome, Proxies, Rate, RefreshToken, Region,
    Settings,
};
use support::{Cut, Gate, Proxy, Reply, Script, Squadcast, Tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const TOKEN: &str = "4d1f0c9be7a86235c0ffee";

/// Far longer than anything takes that works.
const PATIENT: Duration = Duration::from_secs(30);

/// For what is meant to take too long.
const SHORT: Duration = Duration::from_millis(300);

/// How a client is to be set up.
struct Setup {
    timeout: Duration,
    ca_file: Option<PathBuf>,
    proxies: Proxies,
}

impl Setup {
    /// Trusts the stand-in.
    fn of(squadcast: &Squadcast) -> Self {
        Self { timeout: PATIENT, ca_file: Some(squadcast.ca_file()), proxies: Proxies::none() }
    }

    fn client(self) -> Client {
        self.try_client().unwrap_or_else(|error| panic!("{error}"))
    }

    fn try_client(self) -> Result<Client, ClientError> {
        let Self { timeout, ca_file, proxies } = self;
        Client::new(Settings { timeout, ca_file, proxies })
    }
}

fn region(url: &str) -> Region {
    Region::parse(&format!("test={url}"), true).unwrap()
}

fn host(squadcast: &Squadcast) -> String {
    squadcast.url().split("//").nth(1).unwrap().to_owned()
}

async fn exchange(client: &Client, url: &str) -> Result<Grant, Failure> {
    let result = client.exchange(&region(url), &RefreshToken::parse(TOKEN.as_bytes()).unwrap()).await;
    if let Err(failure) = &result {
        assert!(!failure.message.contains(TOKEN), "{}", failure.message);
    }
    result
}

/// Why the stand-in's answer is no token.
async fn failure(client: &Client, squadcast: &Squadcast, reply: Reply) -> Failure {
    squadcast.script(TOKEN, reply);
    exchange(client, squadcast.url()).await.err().expect("a failure")
}

async fn grant(client: &Client, squadcast: &Squadcast, reply: Reply) -> Grant {
    squadcast.script(TOKEN, reply);
    exchange(client, squadcast.url()).await.unwrap_or_else(|failure| panic!("{failure:?}"))
}

#[tokio::test]
async fn the_request_is_what_squadcast_documents() {
    let squadcast = Squadcast::start();
    let client = Setup::of(&squadcast).client();
    let grant = grant(&client, &squadcast, Reply::token()).await;
    let minted = squadcast.minted_as(grant.access_token.expose()).unwrap();
    assert_eq!((grant.issued_at, grant.expires_at), (minted.issued_at, minted.expires_at));
    assert_eq!((grant.token_type.as_str(), grant.skew), ("Bearer", 0));
    assert!(grant.rotated.is_none() && grant.requested_at <= grant.received_at);

    exchange(&client, &format!("{}/v3/", squadcast.url())).await.ok().unwrap();
    let requests = squadcast.all_requests();
    let [first, second] = requests.as_slice() else { panic!("{} requests", requests.len()) };
    assert_eq!((first.method.as_str(), first.path.as_str()), ("GET", "/oauth/access-token"));
    assert_eq!(second.path, "/v3/oauth/access-token");
    assert_eq!(first.header("x-refresh-token"), Some(TOKEN));
    assert_eq!(first.header("user-agent"), Some(concat!("squadcast-operator/", env!("CARGO_PKG_VERSION"))));
    assert_eq!((first.header("accept-encoding"), first.header("authorization")), (None, None));
    assert!(first.body.is_empty());
}

#[tokio::test]
async fn every_status() {
    let squadcast = Squadcast::start();
    let client = Setup::of(&squadcast).client();
    for (status, reason) in [
        (400, Reason::RequestRejected),
        (401, Reason::RefreshTokenRejected),
        (402, Reason::PaymentRequired),
        (403, Reason::RefreshTokenRejected),
        (404, Reason::RequestRejected),
        (409, Reason::ServiceUnavailable),
        (422, Reason::RequestRejected),
        (429, Reason::RateLimited),
        (418, Reason::InvalidResponse),
        (500, Reason::ServiceUnavailable),
        (503, Reason::ServiceUnavailable),
    ] {
        let told = failure(&client, &squadcast, Reply::error(status)).await;
        assert_eq!((told.reason, told.retry_after), (reason, None), "{status}");
        let page = failure(&client, &squadcast, Reply::html(status)).await;
        let reason = match status {
            400..=404 | 418 | 422 => Reason::InvalidResponse,
            _ => reason,
        };
        assert_eq!(page.reason, reason, "{status}");
        if reason == Reason::InvalidResponse {
            let start = format!("{} answered HTTP {status} (text/html): ", host(&squadcast));
            assert!(page.message.starts_with(&start), "{}", page.message);
        }
        let again = failure(&client, &squadcast, Reply::html(status)).await;
        assert_eq!(again.message, page.message);
    }
    let told = failure(&client, &squadcast, Reply::error(429).retry_after("17")).await;
    assert_eq!(told.retry_after, Some(Duration::from_secs(17)));
}

#[tokio::test]
async fn tokens_of_no_use() {
    let squadcast = Squadcast::start();
    let client = Setup::of(&squadcast).client();
    let mut cases = vec![
        Reply::html(200),
        Reply::raw(200, "application/json", ""),
        Reply::raw(200, "application/json", [0xff, 0xfe]),
        Reply::token().access_token(""),
        Reply::token().access_token("a\nb"),
        Reply::token().field("expires_at", json!("soon")),
        Reply::token().life(4),
        Reply::token().life(20 * 366 * 86400),
        Reply::example(),
        Reply::redirect(204, ""),
    ];
    for name in ["access_token", "refresh_token", "type", "issued_at", "expires_at"] {
        cases.push(Reply::token().without(name));
    }
    for reply in cases {
        let told = failure(&client, &squadcast, reply.clone()).await;
        assert_eq!(told.reason, Reason::InvalidResponse, "{reply:?}: {}", told.message);
    }
    let granted = grant(&client, &squadcast, Reply::token().refresh_token("another one")).await;
    assert_eq!(granted.rotated.unwrap().expose(), "another one");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let squadcast = Squadcast::start();
    let client = Setup::of(&squadcast).client();
    for status in [301, 302, 303, 307, 308] {
        let location = format!("{}/oauth/access-token", squadcast.url());
        let told = failure(&client, &squadcast, Reply::redirect(status, &location)).await;
        assert_eq!(told.reason, Reason::InvalidResponse);
        assert!(told.message.contains("a redirect is not followed"), "{}", told.message);
    }
    assert_eq!(squadcast.all_requests().len(), 5);
}

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
    let told = failure(&client, &squadcast, Reply::error(503).drip(Duration::from_millis(50))).await;
    assert_eq!(told.reason, Reason::ServiceUnavailable);
    let slow = Reply::error(429).retry_after("9").drip(Duration::from_millis(50));
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
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    drop(listener);
    let told = exchange(&setup().client(), &url).await.err().unwrap();
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

#[tokio::test]
async fn long_bodies() {
    const LIMIT: usize = 64 * 1024;
    let squadcast = Squadcast::start();
    let client = Setup::of(&squadcast).client();
    for reply in [Reply::token(), Reply::token().chunked()] {
        grant(&client, &squadcast, reply.clone().size(LIMIT)).await;
        for size in [LIMIT + 1, 200 * LIMIT] {
            let told = failure(&client, &squadcast, reply.clone().size(size)).await;
            assert_eq!(told.reason, Reason::InvalidResponse);
            assert!(told.message.contains("over 64 KiB"), "{}", told.message);
        }
    }
    let told = failure(&client, &squadcast, Reply::error(503).size(200 * LIMIT)).await;
    assert_eq!(told.reason, Reason::ServiceUnavailable);
}

#[tokio::test]
async fn nothing_is_decompressed() {
    let squadcast = Squadcast::start();
    let client = Setup::of(&squadcast).client();
    let told = failure(&client, &squadcast, Reply::token().gzip()).await;
    assert_eq!(told.reason, Reason::InvalidResponse);
}

#[tokio::test]
async fn certificates_that_are_not_accepted() {
    for (kind, words) in [
        (Tls::Expired, "the server's certificate has expired"),
        (Tls::WrongHost, "the server's certificate is for another name"),
        (Tls::UnknownCa, "the server's certificate is not signed by an authority that is trusted here"),
    ] {
        let squadcast = Squadcast::start_with(kind);
        let client = Setup::of(&squadcast).client();
        let told = failure(&client, &squadcast, Reply::token()).await;
        assert_eq!(told.reason, Reason::ConnectionFailed);
        assert!(told.message.contains(words), "{}", told.message);
        let again = failure(&client, &squadcast, Reply::token()).await;
        assert_eq!(again.message, told.message);
        assert!(squadcast.all_requests().is_empty());
    }
    let squadcast = Squadcast::start();
    let stranger = Setup { ca_file: None, ..Setup::of(&squadcast) }.client();
    let told = failure(&stranger, &squadcast, Reply::token()).await;
    assert!(told.message.contains("--ca-file"), "{}", told.message);
}

#[tokio::test]
async fn what_a_server_may_speak() {
    for kind in [Tls::Only12, Tls::Off] {
        let squadcast = Squadcast::start_with(kind);
        grant(&Setup::of(&squadcast).client(), &squadcast, Reply::token()).await;
    }
}

#[tokio::test]
async fn clocks_that_differ() {
    let squadcast = Squadcast::start();
    let client = Setup::of(&squadcast).client();
    for (skew, told) in [(0, 0), (-3, 0), (7200, 7200), (-7200, -7200)] {
        let granted = grant(&client, &squadcast, Reply::token().skew(skew)).await;
        assert!((granted.skew - told).abs() <= 1, "{skew}: {}", granted.skew);
    }
    // Good for a minute by Squadcast's clock, though long past or far away by ours.
    for skew in [7200, -7200] {
        grant(&client, &squadcast, Reply::token().skew(skew).life(60)).await;
        let told = failure(&client, &squadcast, Reply::token().skew(skew).life(3)).await;
        assert_eq!(told.reason, Reason::InvalidResponse);
    }
    for reply in [Reply::token().no_date(), Reply::token().no_date().header("Date", "today")] {
        assert_eq!(grant(&client, &squadcast, reply).await.skew, 0);
    }
}

#[tokio::test]
async fn a_ca_file_may_change() {
    let squadcast = Squadcast::start();
    let client = Setup::of(&squadcast).client();
    grant(&client, &squadcast, Reply::token()).await;
    squadcast.change_ca();
    let told = failure(&client, &squadcast, Reply::token()).await;
    assert_eq!(told.reason, Reason::ConnectionFailed, "{}", told.message);
    squadcast.write_ca_file();
    grant(&client, &squadcast, Reply::token()).await;
    for content in ["", "-----BEGIN CERTIFICATE-----\n"] {
        std::fs::write(squadcast.ca_file(), content).unwrap();
        grant(&client, &squadcast, Reply::token()).await;
    }
    std::fs::remove_file(squadcast.ca_file()).unwrap();
    grant(&client, &squadcast, Reply::token()).await;
    squadcast.change_ca();
    squadcast.write_ca_file();
    grant(&client, &squadcast, Reply::token()).await;
}

#[tokio::test]
async fn a_ca_file_must_be_one() {
    let squadcast = Squadcast::start();
    std::fs::write(squadcast.ca_file(), "no certificate").unwrap();
    let error = Setup::of(&squadcast).try_client().err().unwrap().to_string();
    assert!(error.starts_with("the CA file ") && error.contains("no certificate in PEM form"), "{error}");
}

#[tokio::test]
async fn through_a_proxy() {
    let squadcast = Squadcast::start();
    let proxy = Proxy::start();
    let url = proxy.url().replace("://", "://alice:hunter2@");
    let through =
        |no| Setup { proxies: Proxies::new("", &url, no).unwrap(), ..Setup::of(&squadcast) }.client();
    grant(&through(""), &squadcast, Reply::token()).await;
    assert_eq!(proxy.connects(), [host(&squadcast)]);
    grant(&through("127.0.0.0/8"), &squadcast, Reply::token()).await;
    assert_eq!(proxy.connects().len(), 1);
    let told = failure(&through(""), &squadcast, Reply::html(401)).await;
    assert!(told.message.contains(&format!("through the proxy {}", proxy.url())), "{}", told.message);
    assert!(!told.message.contains("hunter2"), "{}", told.message);
}

#[tokio::test]
async fn proxies_that_refuse() {
    let squadcast = Squadcast::start();
    for status in [403, 407, 502] {
        let proxy = Proxy::refusing(status, "text/html", "<html>");
        let proxies = Proxies::new(&proxy.url(), &proxy.url(), "").unwrap();
        let client = Setup { proxies, ..Setup::of(&squadcast) }.client();
        let told = failure(&client, &squadcast, Reply::token()).await;
        assert_eq!(told.reason, Reason::ConnectionFailed, "{}", told.message);
        assert!(told.message.contains(&format!("through the proxy {}", proxy.url())), "{}", told.message);
        // In the clear, it answers in Squadcast's place.
        let told = exchange(&client, "http://squadcast.invalid").await.err().unwrap();
        let reason = if status == 502 { Reason::ServiceUnavailable } else { Reason::InvalidResponse };
        assert_eq!(told.reason, reason, "{}", told.message);
    }
    assert!(squadcast.all_requests().is_empty());
    let proxies = Proxies::new("", "http://127.0.0.1:1", "").unwrap();
    let client = Setup { proxies, ..Setup::of(&squadcast) }.client();
    let told = failure(&client, &squadcast, Reply::token()).await;
    assert_eq!(told.reason, Reason::ConnectionFailed);
    assert!(told.message.contains("proxy http://127.0.0.1:1: connection refused"), "{}", told.message);
}

#[tokio::test]
async fn an_echoed_token_is_not_repeated() {
    let squadcast = Squadcast::start();
    let client = Setup::of(&squadcast).client();
    for status in [400, 401, 403, 429, 500, 302, 418] {
        let words = format!("{} token {TOKEN} is unknown, and so is {TOKEN}", "x".repeat(230));
        let reply = Reply::error_with(status, &json!({"status": "error", "error_message": words}))
            .header("Content-Type", &format!("text/{TOKEN}"));
        let told = failure(&client, &squadcast, reply).await;
        assert!(!told.message.contains(&TOKEN[..12]), "{}", told.message);
        assert!(told.message.contains("xxx token [redacted]"), "{}", told.message);
    }
    let twice = Script::of([Reply::token().refresh_token(TOKEN), Reply::error(401)]);
    squadcast.script(TOKEN, twice);
    assert!(exchange(&client, squadcast.url()).await.ok().unwrap().rotated.is_none());
}

#[tokio::test]
async fn exchanges_share_a_request() {
    let squadcast = Squadcast::start();
    let gate = Gate::new();
    squadcast.script(TOKEN, Reply::token().hold(&gate));
    let clock = Arc::new(jiff::Timestamp::now);
    let exchanges = Exchanges::new(Setup::of(&squadcast).client(), (), Rate::default(), clock);
    let (region, token) = (region(squadcast.url()), RefreshToken::parse(TOKEN.as_bytes()).unwrap());
    let not_before = jiff::Timestamp::now();
    let ask = Ask { region: &region, token: &token, not_before, expires_at: None, hold_on_rotation: false };
    let release = async {
        squadcast.wait_for_count(TOKEN, 1, PATIENT).await;
        gate.release();
    };
    let (one, two, ()) =
        tokio::join!(exchanges.exchange(ask, || true), exchanges.exchange(ask, || true), release);
    let three = exchanges.exchange(ask, || true).await;
    let tokens = [one, two, three].map(|outcome| match outcome {
        Outcome::Granted { grant, .. } => grant.access_token.expose().to_owned(),
        _ => panic!("no token"),
    });
    assert!(tokens.iter().all(|token| *token == tokens[0]));
    assert_eq!(squadcast.count(TOKEN), 1);
}
