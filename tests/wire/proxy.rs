//! The way through a proxy, and proxies that refuse.

use squadcast_operator::{api::Reason, squadcast::Proxies};

use super::{Setup, exchange, failure, grant, host};
use crate::support::{Proxy, Reply, Squadcast};

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
