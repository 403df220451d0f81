//! The command lines of the control plane's processes, and the files that they read.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::audit::POLICY;
use super::super::pki::{Ca, signing_key};

/// Controllers that every control plane runs: what namespaces, owner references and service accounts need.
const CONTROLLERS: [&str; 6] = [
    "garbage-collector-controller",
    "namespace-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "root-ca-certificate-publisher-controller",
    "clusterrole-aggregation-controller",
];

/// The root of the repository.
pub fn repository() -> PathBuf {
    // Cargo names it at run time too, which holds when the repository was moved after a build.
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

/// The repository's custom resource definition.
pub fn definition_file() -> PathBuf {
    repository().join("crds/squadcastcredentials.yaml")
}

/// The folder with the control plane's programs, which are built where they are lacking.
pub fn binaries() -> PathBuf {
    if let Some(folder) = std::env::var_os("SQUADCAST_TEST_BIN") {
        return folder.into();
    }
    built("controlplane", &["etcd", "kube-apiserver", "kube-controller-manager", "kubectl"])
}

/// The folder with the programs of the Go module `tests/<module>`, which are built where they are lacking.
pub fn built(module: &str, programs: &[&str]) -> PathBuf {
    let folder = repository().join(".cache").join(module).join("bin");
    if !programs.iter().all(|program| folder.join(program).exists()) {
        let mut build = Command::new(repository().join("tests/controlplane/build.sh"));
        let done = build.arg(repository().join("tests").join(module)).status();
        assert!(
            done.is_ok_and(|status| status.success()),
            "tests/controlplane/build.sh tests/{module} failed; it says why above"
        );
    }
    folder
}

/// Writes keys, certificates and the audit policy.
pub fn write_files(folder: &Path, ca: &Ca) {
    let server = ca.server(&["127.0.0.1", "::1", "10.96.0.1", "localhost", "kubernetes.default.svc"], false);
    let (signing, verifying) = signing_key();
    for (name, text) in [
        ("ca.crt", ca.pem()),
        ("server.crt", &server.cert_pem),
        ("server.key", &server.key_pem),
        ("service-accounts.key", &signing),
        ("service-accounts.pub", &verifying),
        ("audit-policy.yaml", POLICY),
        ("audit.log", ""),
    ] {
        std::fs::write(folder.join(name), text).expect("a file in the control plane's folder");
    }
}

fn flag(name: &str, folder: &Path, file: &str) -> String {
    format!("--{name}={}", folder.join(file).display())
}

pub fn etcd(bin: &Path, folder: &Path, client_port: u16, peer_port: u16) -> Command {
    let client = format!("http://127.0.0.1:{client_port}");
    let peer = format!("http://127.0.0.1:{peer_port}");
    let mut command = Command::new(bin.join("etcd"));
    command
        .arg(flag("data-dir", folder, "etcd"))
        .arg(format!("--listen-client-urls={client}"))
        .arg(format!("--advertise-client-urls={client}"))
        .arg(format!("--listen-peer-urls={peer}"))
        .arg(format!("--initial-advertise-peer-urls={peer}"))
        .arg(format!("--initial-cluster=default={peer}"))
        // The data need not survive the machine, only the process.
        .args(["--unsafe-no-fsync", "--log-level=warn"]);
    command
}

pub fn api_server(
    bin: &Path,
    folder: &Path,
    address: SocketAddr,
    etcd_port: u16,
    more: &[String],
) -> Command {
    let services = if address.is_ipv6() { "fd00:10:96::/112" } else { "10.96.0.0/16" };
    let mut command = Command::new(bin.join("kube-apiserver"));
    command
        .arg(format!("--etcd-servers=http://127.0.0.1:{etcd_port}"))
        .arg(format!("--secure-port={}", address.port()))
        .arg(format!("--bind-address={}", address.ip()))
        .arg(format!("--advertise-address={}", address.ip()))
        .arg("--endpoint-reconciler-type=none")
        .arg(format!("--service-cluster-ip-range={services}"))
        .arg("--authorization-mode=RBAC")
        // As the strictest clusters have it: who sets an owner that blocks deletion needs a right of its own.
        .arg("--enable-admission-plugins=OwnerReferencesPermissionEnforcement")
        .arg(flag("client-ca-file", folder, "ca.crt"))
        .arg(flag("tls-cert-file", folder, "server.crt"))
        .arg(flag("tls-private-key-file", folder, "server.key"))
        .arg(flag("cert-dir", folder, "api-server-certs"))
        .arg("--service-account-issuer=https://kubernetes.default.svc")
        .arg(flag("service-account-key-file", folder, "service-accounts.pub"))
        .arg(flag("service-account-signing-key-file", folder, "service-accounts.key"))
        .arg(flag("audit-policy-file", folder, "audit-policy.yaml"))
        .arg(flag("audit-log-path", folder, "audit.log"))
        // One file of any size: the reader follows it by its length.
        .args(["--audit-log-mode=blocking", "--audit-log-maxsize=1000000"])
        // A test that is throttled here measures the throttle.
        .arg("--enable-priority-and-fairness=false")
        .args(["--max-requests-inflight=4000", "--max-mutating-requests-inflight=4000"])
        .args(more);
    command
}

pub fn controller_manager(bin: &Path, folder: &Path, kubeconfig: &Path, more: &[String]) -> Command {
    let mut controllers = CONTROLLERS.map(str::to_owned).to_vec();
    controllers.extend_from_slice(more);
    let kubeconfig = kubeconfig.display();
    let mut command = Command::new(bin.join("kube-controller-manager"));
    command
        .arg(format!("--kubeconfig={kubeconfig}"))
        // It serves nothing, so there is no port to clash.
        .arg("--secure-port=0")
        .args(["--leader-elect=false", "--use-service-account-credentials=true"])
        .arg(flag("service-account-private-key-file", folder, "service-accounts.key"))
        .arg(flag("root-ca-file", folder, "ca.crt"))
        .args(["--kube-api-qps=500", "--kube-api-burst=1000"])
        .arg(format!("--controllers={}", controllers.join(",")));
    command
}
