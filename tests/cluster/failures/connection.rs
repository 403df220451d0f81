//! No answer at all: who cannot be reached or trusted, breaks off or is silent.

use std::io::{Read, Write};

use futures::future::join_all;
use serde_json::json;

use super::{all_false, assert_transient};
use crate::{
    steps::{Stage, assert_backed_off, message, spec},
    support::{Cut, Reply, Squadcast, Tls, world::World},
};

/// The address of a server that speaks plain HTTP where TLS is expected.
fn plain_http() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    address
}

#[tokio::test]
async fn a_fault_of_the_connection_is_transient() {
    let world = World::new("connection").await;
    let standins = [Tls::Expired, Tls::WrongHost, Tls::UnknownCa].map(Squadcast::start_with);
    let bundle: String = standins.iter().map(Squadcast::ca_pem).collect();
    std::fs::write(world.squadcast.ca_file(), world.squadcast.ca_pem() + &bundle).unwrap();
    let names = ["expired", "host", "authority"];
    let mut flags: Vec<_> = names
        .iter()
        .zip(&standins)
        .map(|(name, standin)| format!("--region={name}={}", standin.url()))
        .collect();
    flags.push(format!("--region=plain=https://{}", plain_http()));
    flags.extend(["--region=refused=https://127.0.0.1:1".into(), "--exchange-timeout=3s".into()]);
    let stage = Stage::with(world, &flags).await;
    let cases = [
        ("expired", "ConnectionFailed", "has expired"),
        ("host", "ConnectionFailed", "for another name"),
        ("authority", "ConnectionFailed", "--ca-file"),
        ("plain", "ConnectionFailed", "TLS"),
        ("refused", "ConnectionFailed", "refused"),
    ];
    join_all(cases.map(async |(name, reason, part)| {
        stage.source(name, Reply::token()).await;
        let mut spec = spec(name, json!({}));
        spec["region"] = name.into();
        stage.apply(name, spec).await;
        let resource = stage.wait_conditions(name, &all_false(reason)).await;
        assert_backed_off(&resource, 300);
        let said = message(&resource, "Synced");
        assert!(said.contains(part) && said.contains("127.0.0.1"), "{name}: {said}");
    }))
    .await;
    for standin in &standins {
        assert!(standin.all_requests().is_empty(), "no refresh token went to one that is not trusted");
    }
    let lost =
        vec![("head", Reply::token().cut(Cut::InHead)), ("nothing", Reply::token().cut(Cut::BeforeHead))];
    assert_transient(&stage, "ConnectionFailed", lost).await;
    let slow = vec![
        ("silent", Reply::silence()),
        ("dripping", Reply::token().drip(std::time::Duration::from_millis(100))),
    ];
    for (name, said) in assert_transient(&stage, "Timeout", slow).await {
        assert!(said.contains("127.0.0.1"), "{name}: {said}");
    }
}
