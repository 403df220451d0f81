//! A real Kubernetes control plane: etcd, kube-apiserver and kube-controller-manager as processes of this machine.
//!
//! `tests/controlplane/build.sh` builds them; `SQUADCAST_TEST_BIN` names a folder with other versions of them.
//! With `SQUADCAST_TEST_KEEP` set, logs and data stay after the test.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::config::AuthInfo;
use kube::{Api, Client, Config};

use super::audit::{AuditLog, Request};
use super::install_crypto;
use super::pki::{Ca, Identity};
use super::process::{Supervised, free_port};
use super::world::install_crd;

mod faults;
pub mod helm;
mod kubeconfig;
mod kubectl;
mod launch;
pub use launch::{binaries, built, definition_file, repository};

/// The controllers that make Pods of workloads.
pub const WORKLOAD_CONTROLLERS: [&str; 4] =
    ["deployment-controller", "replicaset-controller", "statefulset-controller", "daemonset-controller"];

/// Several may start at once on two busy cores.
const START: Duration = Duration::from_secs(180);
const PORT_TAKEN: &str = "address already in use";

/// What a control plane may do differently.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// More controllers for the controller manager, like [`WORKLOAD_CONTROLLERS`].
    pub controllers: Vec<String>,
    /// Custom resource definitions in YAML. The garbage collector looks for new kinds twice a minute; those that
    /// are there before it starts, it knows from the start.
    pub definitions: Vec<String>,
    /// More flags for the API server.
    pub api_server_flags: Vec<String>,
    /// The API server's port, where any that is free will not do.
    pub port: Option<u16>,
    /// A cluster of IPv6 alone: the API server is on `::1` and nowhere else, and Services have addresses of that kind.
    pub ipv6: bool,
}

/// One of the processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    Etcd,
    ApiServer,
    ControllerManager,
}

fn readyz() -> http::Request<Vec<u8>> {
    http::Request::get("/readyz").body(Vec::new()).expect("a request")
}

/// A running control plane. It ends when dropped, and in any case with this process.
pub struct ControlPlane {
    folder: PathBuf,
    ca: Ca,
    admin: Identity,
    address: SocketAddr,
    commands: [Command; 3],
    processes: Mutex<Vec<Supervised>>,
    audit: Mutex<AuditLog>,
    files: AtomicU32,
}

impl ControlPlane {
    /// Starts one and waits until it serves; about 5 s on 2 cores.
    pub fn start() -> Self {
        Self::start_with(&Options::default())
    }

    /// As [`ControlPlane::start`]. It may be called with or without a tokio runtime around it.
    pub fn start_with(options: &Options) -> Self {
        for attempt in 1.. {
            match Self::try_start(options) {
                Ok(plane) => return plane,
                // Someone else took a port between our choice and its use.
                Err(error) if attempt < 4 && error.contains(PORT_TAKEN) => {}
                Err(error) => panic!("{error}"),
            }
        }
        unreachable!("the loop ends by return or panic")
    }

    /// The one that all tests of this process share, with all controllers and the repository's definition.
    pub fn shared() -> &'static Arc<Self> {
        static SHARED: OnceLock<Arc<ControlPlane>> = OnceLock::new();
        SHARED.get_or_init(|| {
            Arc::new(Self::start_with(&Options {
                controllers: WORKLOAD_CONTROLLERS.map(str::to_owned).to_vec(),
                definitions: std::fs::read_to_string(definition_file()).into_iter().collect(),
                ..Options::default()
            }))
        })
    }

    fn try_start(options: &Options) -> Result<Self, String> {
        install_crypto();
        let bin = binaries();
        let folder = tempfile::Builder::new().prefix("squadcast-control-plane-").tempdir();
        let folder = folder.expect("a temporary folder").keep();
        let ca = Ca::new("control plane of a test");
        launch::write_files(&folder, &ca);
        let manager = folder.join("controller-manager.kubeconfig");
        let etcd_port = free_port();
        let ip: IpAddr = if options.ipv6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
        let address = SocketAddr::new(ip, options.port.unwrap_or_else(free_port));
        let plane = Self {
            admin: ca.client("admin", &["system:masters"]),
            commands: [
                launch::etcd(&bin, &folder, etcd_port, free_port()),
                launch::api_server(&bin, &folder, address, etcd_port, &options.api_server_flags),
                launch::controller_manager(&bin, &folder, &manager, &options.controllers),
            ],
            processes: Mutex::new(Vec::new()),
            audit: Mutex::new(AuditLog::new(folder.join("audit.log"))),
            files: AtomicU32::new(0),
            folder,
            ca,
            address,
        };
        plane.write_kubeconfig("controller-manager", &plane.ca.client("system:kube-controller-manager", &[]));
        plane.write_kubeconfig("admin", &plane.admin);
        plane.add(Component::Etcd)?;
        plane.add(Component::ApiServer)?;
        plane.wait_for("the API server", async |client| client.apiserver_version().await.map(drop))?;
        on_own_runtime(|| async {
            let client = plane.client();
            for definition in &options.definitions {
                install_crd(&client, definition).await;
            }
        });
        // The controller manager gives up when the API server is not ready within 10 s.
        plane.wait_for("the API server to be ready", async |client| {
            client.request_text(readyz()).await.map(drop)
        })?;
        plane.add(Component::ControllerManager)?;
        plane.wait_until_up()?;
        Ok(plane)
    }

    fn add(&self, component: Component) -> Result<(), String> {
        let process = self.spawn(component)?;
        self.processes().push(process);
        Ok(())
    }

    fn spawn(&self, component: Component) -> Result<Supervised, String> {
        let name = ["etcd", "kube-apiserver", "kube-controller-manager"][component as usize];
        Supervised::start(name, &self.folder, &self.commands[component as usize])
            .map_err(|error| format!("{name} did not start: {error}"))
    }

    /// Waits until all requests are served and what every namespace needs is there.
    fn wait_until_up(&self) -> Result<(), String> {
        self.wait_for("the control plane", async |client| {
            client.request_text(readyz()).await?;
            Api::<ServiceAccount>::namespaced(client, "default").get("default").await.map(drop)
        })
    }

    fn wait_for(
        &self,
        what: &str,
        look: impl AsyncFn(Client) -> kube::Result<()> + Sync,
    ) -> Result<(), String> {
        let deadline = Instant::now() + START;
        on_own_runtime(|| async {
            let client = self.client();
            loop {
                let answer = tokio::time::timeout(Duration::from_secs(5), look(client.clone())).await;
                let why = match answer {
                    Ok(Ok(())) => return Ok(()),
                    Ok(Err(error)) => format!("{error:?}"),
                    Err(_) => "no answer".to_owned(),
                };
                let dead = self.processes().iter_mut().any(|process| process.exit_code().is_some());
                if dead || Instant::now() >= deadline {
                    return Err(format!("{what} did not start; last seen: {why}\n{}", self.reports()));
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
    }

    /// The ends of all logs; the folder stays for a closer look.
    fn reports(&self) -> String {
        let mut processes = self.processes();
        let reports = processes.iter().map(Supervised::report).collect::<Vec<_>>().join("\n");
        if !reports.contains(PORT_TAKEN) {
            processes.iter_mut().for_each(Supervised::keep_folder);
        }
        reports
    }

    fn processes(&self) -> MutexGuard<'_, Vec<Supervised>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a watch may begin with a list, as it may by default in Kubernetes 1.32 and from 1.34 on.
    pub fn streams_lists(&self) -> bool {
        let version = on_own_runtime(|| async { self.client().apiserver_version().await });
        let minor = version.expect("the API server's version").minor;
        let minor: u32 = minor.trim_end_matches('+').parse().expect("a number");
        // On by default in 1.32, off again in 1.33.
        minor == 32 || minor >= 34
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Where the API server is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Data, logs and kubeconfigs; gone when the control plane ends.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The process ids of etcd, the API server and the controller manager.
    pub fn pids(&self) -> Vec<u32> {
        self.processes().iter().map(Supervised::pid).collect()
    }

    /// A client with all rights, for the runtime that runs now.
    pub fn client(&self) -> Client {
        self.client_of(&self.admin)
    }

    /// A client for any user, with a fresh certificate.
    pub fn client_for(&self, user: &str, groups: &[&str]) -> Client {
        self.client_of(&self.ca.client(user, groups))
    }

    fn client_of(&self, identity: &Identity) -> Client {
        let mut config = Config::new(self.url().parse().expect("a URL"));
        config.root_cert = Some(vec![self.ca.der().to_vec()]);
        config.auth_info = AuthInfo {
            client_certificate_data: Some(STANDARD.encode(&identity.cert_pem)),
            client_key_data: Some(STANDARD.encode(&identity.key_pem).into()),
            ..AuthInfo::default()
        };
        Client::try_from(config).expect("a client")
    }

    /// Every request that the audit log holds; [`super::audit`] says how exact that is.
    pub fn audit(&self) -> Vec<Request> {
        self.audit_where(|_| true)
    }

    /// The requests of one user.
    pub fn requests_by(&self, user: &str) -> Vec<Request> {
        self.audit_where(|request| request.user == user)
    }

    fn audit_where(&self, wanted: impl Fn(&Request) -> bool) -> Vec<Request> {
        let mut log = self.audit.lock().unwrap_or_else(PoisonError::into_inner);
        log.requests().iter().filter(|request| wanted(request)).cloned().collect()
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        // All pipes close first, so that the processes end side by side.
        let mut processes = self.processes();
        processes.iter_mut().for_each(Supervised::let_go);
        processes.clear();
    }
}

/// Runs a future to its end on a thread of its own, so that it does not matter which runtime the caller is on.
pub fn on_own_runtime<T: Send, Fut: Future<Output = T>>(work: impl FnOnce() -> Fut + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(work())
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
