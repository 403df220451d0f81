//! Whom the image's program trusts: the image holds no file of certificates.

use crate::image::image;
use crate::support::controlplane::repository;
use crate::support::{Reply, Squadcast};

/// What a public authority has signed cannot be had without a network: that the keys are there is shown, and that others
/// are refused.
#[test]
fn its_program_brings_the_keys_of_all_public_authorities() {
    let program = std::fs::read(image().root().join("squadcast-operator")).unwrap();
    let roots = webpki_roots::TLS_SERVER_ROOTS;
    assert!(roots.len() > 100);
    for root in roots {
        let key = root.subject_public_key_info.as_ref();
        assert!(program.windows(key.len()).any(|part| part == key), "{:?}", root.subject);
    }
}

#[tokio::test]
async fn in_an_empty_root_it_trusts_no_others_but_those_of_the_ca_file() {
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
