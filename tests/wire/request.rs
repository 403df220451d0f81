//! What is sent to Squadcast, and that many share it.

use std::sync::Arc;

use squadcast_operator::api::Key;
use squadcast_operator::squadcast::{Ask, Exchanges, Line, Outcome, Rate, RefreshToken};

use super::{PATIENT, Setup, TOKEN, exchange, grant, region};
use crate::support::{Gate, Reply, Squadcast};

#[tokio::test]
async fn the_request_is_what_squadcast_documents() {
    let squadcast = Squadcast::start();
    let client = Setup::of(&squadcast).client();
    let grant = grant(&client, &squadcast, Reply::token()).await;
    let minted = squadcast.minted_as(grant.access_token.expose()).unwrap();
    assert_eq!((grant.issued_at, grant.expires_at), (minted.issued_at, minted.expires_at));
    assert_eq!((&*grant.token_type, grant.skew), ("Bearer", 0));
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
async fn exchanges_share_a_request() {
    let squadcast = Squadcast::start();
    let gate = Gate::new();
    squadcast.script(TOKEN, Reply::token().hold(&gate));
    let clock = Arc::new(jiff::Timestamp::now);
    let exchanges = Exchanges::new(Setup::of(&squadcast).client(), (), Rate::default(), clock);
    let (region, token) = (region(squadcast.url()), RefreshToken::parse(TOKEN.as_bytes()).unwrap());
    let not_before = jiff::Timestamp::now();
    let secret = Key::new("team", "source");
    let source = Line { secret, key: "refresh_token".into(), region: "test".into() };
    let ask = Ask {
        region: &region,
        token: &token,
        source: &source,
        since: exchanges.moment(),
        not_before,
        expires_at: None,
        holder: None,
    };
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
