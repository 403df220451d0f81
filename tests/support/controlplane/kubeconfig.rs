//! Kubeconfig files for users with certificates and for service accounts with tokens.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::PostParams;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};

use super::super::front::Front;
use super::super::pki::Identity;
use super::ControlPlane;

impl ControlPlane {
    /// The administrator's, written at the start.
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.folder.join("admin.kubeconfig")
    }

    /// A kubeconfig file with a fresh certificate for any user, whose requests can then be told from others'.
    pub fn kubeconfig_for(&self, user: &str, groups: &[&str]) -> PathBuf {
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        self.write_kubeconfig(&format!("user-{number}"), &self.ca.client(user, groups))
    }

    /// A kubeconfig file with a token of this service account, as its Pods get one.
    pub async fn kubeconfig_of(&self, namespace: &str, service_account: &str) -> PathBuf {
        let api: Api<ServiceAccount> = Api::namespaced(self.client(), namespace);
        let answer =
            api.create_token_request(service_account, &PostParams::default(), &TokenRequest::default()).await;
        let answer = answer.unwrap_or_else(|error| panic!("ServiceAccount {service_account}: {error}"));
        let token = answer.status.expect("a token").token;
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        self.write_config(&format!("user-{number}"), namespace, &json!({ "token": token }))
    }

    /// A proxy in front of the API server for one user, with a fresh certificate.
    pub fn front(&self, user: &str, groups: &[&str]) -> Front {
        let identity = self.ca.client(user, groups);
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from(self.ca.der().to_vec())).expect("an authority");
        let key = PrivateKeyDer::try_from(identity.key_der).expect("a private key");
        let mut config = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![CertificateDer::from(identity.cert_der)], key)
            .expect("a client's certificate");
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        let file = self.folder.join(format!("front-{number}.kubeconfig"));
        Front::start(self.address.to_string(), config, file)
    }

    pub(super) fn write_kubeconfig(&self, name: &str, identity: &Identity) -> PathBuf {
        let user = json!({
            "client-certificate-data": STANDARD.encode(&identity.cert_pem),
            "client-key-data": STANDARD.encode(&identity.key_pem),
        });
        self.write_config(name, "default", &user)
    }

    fn write_config(&self, name: &str, namespace: &str, user: &Value) -> PathBuf {
        let path = self.folder.join(format!("{name}.kubeconfig"));
        let context = json!({ "cluster": "test", "user": "test", "namespace": namespace });
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": context}],
            "clusters": [{"name": "test", "cluster": {
                "server": self.url(),
                "certificate-authority-data": STANDARD.encode(self.ca.pem()),
            }}],
            "users": [{"name": "test", "user": user}],
        });
        std::fs::write(&path, config.to_string()).expect("a kubeconfig file");
        path
    }
}
