//! The exchange client against a stand-in for Squadcast that misbehaves in every way there is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test fails")]

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod connection;
mod proxy;
mod request;
mod tls;

use std::{path::PathBuf, time::Duration};

use squadcast_operator::squadcast::{
    Client, ClientError, Failure, Grant, Proxies, RefreshToken, Region, Settings,
};

use crate::support::{Reply, Squadcast};

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
