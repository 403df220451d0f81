//! Whom the client trusts: certificates, versions of TLS, and the file with authorities.

use squadcast_operator::api::Reason;

use super::{Setup, failure, grant};
use crate::support::{Reply, Squadcast, Tls};

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
