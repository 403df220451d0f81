//! The life of a release: installed, upgraded, rolled back, uninstalled, installed again; alone and beside others.

use std::sync::Arc;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use serde_json::{Value, json};

use crate::release::{Release, file, knows, with};
use crate::support::world::World;
use crate::support::{ControlPlane, DEADLINE, Options, eventually};

const DEFINITION: &str = "squadcastcredentials.credentials.squadcast.com";

/// A control plane without the definition, and with the controllers that make Pods.
pub fn empty_cluster() -> Arc<ControlPlane> {
    let controllers = crate::support::controlplane::WORKLOAD_CONTROLLERS.map(str::to_owned).to_vec();
    Arc::new(ControlPlane::start_with(&Options { controllers, ..Options::default() }))
}

pub async fn definition(plane: &ControlPlane) -> Option<CustomResourceDefinition> {
    let api: Api<CustomResourceDefinition> = Api::all(plane.client());
    api.get_opt(DEFINITION).await.unwrap()
}

async fn holder(release: &Release) -> Option<String> {
    let leases: Api<Lease> = Api::namespaced(release.plane.client(), &release.namespace);
    let lease = leases.get_opt(&release.full_name()).await.unwrap()?;
    lease.spec?.holder_identity
}

fn pods(release: &Release) -> usize {
    let listed = release.plane.kubectl(&["get", "pods", "-n", &release.namespace, "-o", "name"]);
    assert!(listed.status.success());
    listed.stdout.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_installed_upgraded_rolled_back_uninstalled_and_installed_again() {
    let plane = empty_cluster();
    let world = World::bare(&plane, "team").await;
    let release = Release::new(&plane, "token", "token-system");
    let values = knows(&release, &world.squadcast);

    let notes = release.install(&values);
    assert!(notes.contains("deployment/token-squadcast-operator"), "{notes}");
    assert!(notes.contains("eu, test, us"), "the notes name the regions: {notes}");
    assert!(notes.contains("once the ConfigMap squadcast-ca of the namespace token-system"), "{notes}");
    let installed = definition(&plane).await.expect("the definition comes with the chart");
    let annotations = installed.metadata.annotations.clone().unwrap_or_default();
    assert_eq!(annotations["helm.sh/resource-policy"], "keep");
    assert!(annotations["argocd.argoproj.io/sync-options"].contains("Prune=false"));
    assert_eq!(annotations["kustomize.toolkit.fluxcd.io/prune"], "disabled");
    let wanted: CustomResourceDefinition =
        serde_saphyr::from_str(&file("crds/squadcastcredentials.yaml")).unwrap();
    assert_eq!(installed.spec.versions, wanted.spec.versions);
    // The namespace enforces the restricted Pod Security Standard; a Pod that breaks it is not made.
    eventually("the Pods", DEADLINE, async || pods(&release) == 2).await;

    let operator = release.operator().await;
    world.refresh_token("one-source", "rt-one").await;
    world.credential("one", "one-source", "one-target").await;
    world.wait_ready("one").await;
    eventually("a holder of the lease", DEADLINE, async || holder(&release).await).await;
    let token = world.secret_data("one-target").await;

    // Other values; the operator of the new Pod finds all as it should be.
    release.upgrade(&with(values.clone(), json!({ "logFormat": "text", "replicaCount": 3 })));
    assert!(release.args().await.contains(&"--log-format=text".to_owned()));
    assert_eq!(release.deployment().await.spec.unwrap().replicas, Some(3));
    operator.sigterm();
    assert_eq!(operator.wait_exit(DEADLINE).await, 0);
    assert_eq!(holder(&release).await, None, "the lease was given back");
    let next = release.operator().await;
    next.wait_for_log("leading").await;
    release.rollback();
    assert!(release.args().await.contains(&"--log-format=json".to_owned()));
    assert_eq!(release.deployment().await.spec.unwrap().replicas, Some(2));
    let listed = release.helm(&["history", &release.name, "-o", "json"], &Value::Null).unwrap();
    assert_eq!(serde_json::from_str::<Vec<Value>>(&listed).unwrap().len(), 3);

    // Gone without a trace of it, but for what it is about.
    let said = release.uninstall();
    assert!(said.contains(DEFINITION), "helm tells what it kept: {said}");
    next.sigterm();
    assert_eq!(next.wait_exit(DEADLINE).await, 0);
    let deleted = definition(&plane).await.expect("it stays").metadata.deletion_timestamp;
    assert_eq!(deleted, None);
    world.wait_ready("one").await;
    assert_eq!(world.secret_data("one-target").await, token);
    eventually("the Pods to go", DEADLINE, async || pods(&release) == 0).await;
    let kinds = "all,sa,role,rolebinding,clusterrole,clusterrolebinding,pdb,networkpolicy";
    eventually("all else to go", DEADLINE, async || {
        let all = ["get", kinds, "-A", "-l", "app.kubernetes.io/instance=token", "-o", "name"];
        let left = plane.kubectl(&all).stdout;
        if left.is_empty() { Ok(()) } else { Err(String::from_utf8_lossy(&left).into_owned()) }
    })
    .await;

    // The same release again takes the definition as its own; the token is as it was.
    release.install(&values);
    let again = release.operator().await;
    again.wait_for_log("leading").await;
    world.wait_ready("one").await;
    assert_eq!(world.secret_data("one-target").await, token);
    assert_eq!(world.squadcast.count("rt-one"), 1, "all of this cost no exchange");

    // A release that has the definition no more leaves it where it is.
    release.upgrade(&with(values.clone(), json!({ "crds": { "install": false } })));
    let left = definition(&plane).await.expect("it stays");
    assert_eq!(left.metadata.deletion_timestamp, None);
    world.wait_ready("one").await;

    // Only who says so loses everything.
    release.upgrade(&with(values, json!({ "crds": { "keep": false } })));
    release.uninstall();
    eventually("the definition to go", DEADLINE, async || definition(&plane).await.is_none()).await;
    // The resources are gone with it; when their Secrets follow is up to Kubernetes' garbage collection.
}
