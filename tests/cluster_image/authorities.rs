//! Whom the image's program trusts, which holds no file of certificates.

use crate::image::image;
use crate::support::controlplane::repository;
use crate::support::{Reply, Squadcast};

#[tokio::test]
async fn in_an_empty_root_it_trusts_public_authorities_and_no_others() {
    let squadcast = Squadcast::start();
    squadcast.script("rt-one", Reply::token());
    let image = image();
    let version = image.run(&["--version"], "").await;
    assert_eq!(version.stdout, format!("squadcast-operator {}\n", env!("CARGO_PKG_VERSION")).as_bytes());
    let definition = image.run(&["crd"], "").await;
    let wanted = std::fs::read(repository().join("crds/squadcastcredentials.yaml")).unwrap();
    assert!(definition.stdout == wanted);

    // Certificates are examined with the authorities that are compiled in: this one is by none of them.
    let region = format!("--region=test={}", squadcast.url());
    let unknown = image.run(&["check", &region], "rt-one").await;
    let said = String::from_utf8_lossy(&unknown.stdout).into_owned();
    assert_eq!(unknown.status.code(), Some(1), "{said}");
    assert!(said.contains("ConnectionFailed") && said.contains("certificate"), "{said}");
    assert_eq!(squadcast.count("rt-one"), 0);
    let authority = image.place("check-ca.pem", squadcast.ca_pem().as_bytes());
    let known = image.run(&["check", &region, &format!("--ca-file={authority}")], "rt-one").await;
    assert!(known.status.success(), "{}", String::from_utf8_lossy(&known.stdout));
    assert_eq!(squadcast.count("rt-one"), 1);
}
