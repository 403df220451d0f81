//! What the demo plays on: control plane, stand-in and operator, all of which end with it.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::core::DynamicObject;
use kube::{Api, ResourceExt};
use serde_json::Value;

use crate::Result;
use crate::shell::Shell;
use crate::support::controlplane::{binaries, repository};
use crate::support::operator::{Launch, Operator};
use crate::support::world::{condition, credential_resource};
use crate::support::{ControlPlane, Squadcast};

// The names in `deploy/samples/basic.yaml`.
const CREDENTIAL: &str = "squadcast";
const TARGET: &str = "squadcast-token";
/// The operator notes here what token the Secret holds.
const EXPIRES_AT: &str = "credentials.squadcast.com/expires-at";

/// Declared in the order in which the parts end.
pub struct Stage {
    operator: Option<Operator>,
    /// What operators said that are gone.
    earlier_log: String,
    program: PathBuf,
    pub shell: Shell,
    pub squadcast: Squadcast,
    /// Goes with the control plane's folder, in which it is.
    folder: PathBuf,
    plane: ControlPlane,
}

impl Stage {
    /// Starts all but the operator.
    pub async fn set(program: &Path) -> Result<Self> {
        let program = program.canonicalize().map_err(|error| format!("{}: {error}", program.display()))?;
        let plane = tokio::task::spawn_blocking(ControlPlane::start).await;
        // Why it does not start has been said by then.
        let plane = plane.map_err(|_| "there is no control plane to play on")?;
        let squadcast = Squadcast::start();
        let folder = plane.folder().join("demo");
        std::fs::create_dir(&folder)?;
        let repository = repository();
        for name in ["crds", "deploy"] {
            symlink(repository.join(name), folder.join(name))?;
        }
        let shell = Shell::new(&folder, &binaries(), plane.kubeconfig_for("you", &["system:masters"]))?;
        std::fs::write(folder.join("ca.pem"), squadcast.ca_pem())?;
        Ok(Self { operator: None, earlier_log: String::new(), program, shell, squadcast, folder, plane })
    }

    /// Where the API server is, and its version.
    pub async fn kubernetes(&self) -> Result<String> {
        let version = self.plane.client().apiserver_version().await?.git_version;
        Ok(format!("Kubernetes {version} at {}", self.plane.url()))
    }

    /// Writes a file into the folder in which the commands run.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        Ok(std::fs::write(self.folder.join(name), text)?)
    }

    /// Starts the operator, with the stand-in in place of the region `us`, and waits until it is ready.
    pub async fn start_operator(&mut self) {
        let region = format!("us={}", self.squadcast.url());
        println!("$ squadcast-operator run --region {region} --ca-file ca.pem --log-format text");
        let ca = self.folder.join("ca.pem").display().to_string();
        let operator = Launch::new(&self.program)
            .kubeconfig(&self.plane.kubeconfig_for("squadcast-operator", &["system:masters"]))
            .args(["--region", &region, "--ca-file", &ca, "--log-format", "text"])
            .start();
        self.operator.insert(operator).wait_ready().await;
        println!("It is ready.");
    }

    /// Ends the operator as a crash or a node's loss would.
    pub fn kill_operator(&mut self) {
        if let Some(operator) = self.operator.take() {
            println!("$ kill -KILL {}", operator.pid());
            self.earlier_log.push_str(&operator.log());
            operator.kill();
        }
    }

    fn credentials(&self) -> Api<DynamicObject> {
        Api::default_namespaced_with(self.plane.client(), &credential_resource())
    }

    /// Whether the API server knows the resource.
    pub async fn is_served(&self) -> bool {
        self.credentials().list(&ListParams::default()).await.is_ok()
    }

    /// The resource as it is now.
    pub async fn credential(&self) -> Result<Value> {
        Ok(serde_json::to_value(self.credentials().get(CREDENTIAL).await?)?)
    }

    /// A field of one of the resource's conditions; empty where there is none.
    pub async fn condition(&self, kind: &str, field: &str) -> Result<String> {
        let found = condition(&self.credential().await?, kind).unwrap_or_default();
        Ok(found[field].as_str().unwrap_or_default().to_owned())
    }

    /// Whether the target holds a token that Squadcast's API would take now.
    pub async fn token_is_good(&self) -> Result<bool> {
        Ok(self.is_good(&self.target().await?))
    }

    /// Whether that is so and the status says it of this very token.
    pub async fn is_settled(&self) -> Result<bool> {
        let target = self.target().await?;
        let expiry = target.annotations().get(EXPIRES_AT).map(String::as_str);
        let status = &self.credential().await?["status"];
        Ok(self.is_good(&target) && status["expiresAt"].as_str() == expiry)
    }

    async fn target(&self) -> Result<Secret> {
        Ok(Api::default_namespaced(self.plane.client()).get(TARGET).await?)
    }

    fn is_good(&self, target: &Secret) -> bool {
        let token = target.data.as_ref().and_then(|data| data.get("access_token"));
        token.is_some_and(|token| self.squadcast.is_good(&String::from_utf8_lossy(&token.0)))
    }

    /// Everything that the operator has written.
    pub fn log(&self) -> String {
        self.earlier_log.clone() + &self.operator.as_ref().map(Operator::log).unwrap_or_default()
    }

    /// Says how to use what runs.
    pub fn invite(&self) {
        println!("\nEverything goes on running until Ctrl-C. In another terminal:\n");
        println!("    export KUBECONFIG={}", self.shell.kubeconfig().display());
        println!("    export PATH=\"$PATH:{}\"    # kubectl, if you have none", binaries().display());
        println!("    kubectl get sqc --watch");
        if let Some(operator) = &self.operator {
            println!("    curl http://127.0.0.1:{}/metrics", operator.port());
            println!("    tail -f {}\n", operator.log_path().display());
            println!("To put an operator of your own in place of this one:\n");
            println!("    kill {}", operator.pid());
            let (region, ca) = (self.squadcast.url(), self.folder.join("ca.pem"));
            println!(
                "    cargo build --bin squadcast-operator --example demo\n    \"{}\" run --log-format text --region us={region} --ca-file \"{}\"",
                self.program.display(),
                ca.display()
            );
        }
    }
}
