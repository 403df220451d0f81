//! kubectl instead of helm: `deploy/install.yaml`, its kustomization, and every sample at work; who may see and change
//! resources by the roles view and edit.

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::lifecycle::empty_cluster;
use crate::release::{Release, file};
use crate::support::controlplane::repository;
use crate::support::eventually::unless;
use crate::support::world::World;
use crate::support::{ControlPlane, DEADLINE, eventually};

/// What a user changes in an overlay: here the places of the tests, and the right to restart workloads.
const OVERLAY: &str = "
resources: [base]
patches:
  - target: { kind: Deployment }
    patch: |
      - { op: add, path: /spec/template/spec/containers/0/args/-, value: '--region=us=URL' }
      - { op: add, path: /spec/template/spec/containers/0/args/-, value: '--region=eu=URL' }
      - { op: add, path: /spec/template/spec/containers/0/args/-, value: '--ca-file=AUTHORITY' }
  - target: { kind: ClusterRole, name: 'squadcast-operator:squadcast-operator' }
    patch: |
      - { op: add, path: /rules/-, value: { apiGroups: [apps], resources: [deployments], verbs: [patch] } }
";

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn samples() -> Vec<String> {
    let folder = std::fs::read_dir(repository().join("deploy/samples")).unwrap();
    let mut names: Vec<_> = folder.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn apply_sample(plane: &ControlPlane, namespace: &str, name: &str, more: &[&str]) -> Output {
    let path = repository().join("deploy/samples").join(name);
    let args = ["apply", "--server-side", "-n", namespace, "-f", path.to_str().unwrap()];
    plane.kubectl(&[&args, more].concat())
}

fn json_of(world: &World, kind: &str, name: &str) -> Value {
    let output = world.plane.kubectl(&["get", kind, name, "-n", &world.namespace, "-o", "json"]);
    serde_json::from_str(&succeeded(&output)).unwrap()
}

/// Installs by kubectl, with an overlay of one's own.
fn install(plane: &ControlPlane, world: &World, folder: &Path) {
    let base = folder.join("base");
    std::fs::create_dir(&base).unwrap();
    for name in ["install.yaml", "kustomization.yaml"] {
        std::fs::write(base.join(name), file(format!("deploy/{name}"))).unwrap();
    }
    let authority = world.squadcast.ca_file();
    let overlay =
        OVERLAY.replace("URL", world.squadcast.url()).replace("AUTHORITY", authority.to_str().unwrap());
    std::fs::write(folder.join("kustomization.yaml"), overlay).unwrap();
    let args = ["apply", "--server-side", "-k", folder.to_str().unwrap()];
    succeeded(&plane.kubectl(&args));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_install_manifest_serves_every_sample() {
    let plane = empty_cluster();
    // As the README says it, first as it is.
    let manifest = repository().join("deploy/install.yaml");
    let said = succeeded(&plane.kubectl(&["apply", "--server-side", "-f", manifest.to_str().unwrap()]));
    assert!(said.contains("namespace/squadcast-operator serverside-applied"), "{said}");
    let established =
        ["wait", "--for=condition=Established", "crd", "squadcastcredentials.credentials.squadcast.com"];
    succeeded(&plane.kubectl(&established));
    assert!(!file("deploy/install.yaml").contains("managed-by: Helm"), "whoever applies it manages it");
    let world = World::bare(&plane, "team").await;
    succeeded(&plane.kubectl(&[
        "label",
        "namespace",
        &world.namespace,
        "pod-security.kubernetes.io/enforce=restricted",
    ]));
    let folder = tempfile::tempdir().unwrap();
    install(&plane, &world, folder.path());
    let release = Release::new(&plane, "squadcast-operator", "squadcast-operator");
    let operator = release.operator().await;
    operator.wait_for_log("leading").await;

    assert_eq!(samples(), ["basic.yaml", "eu.yaml", "merge.yaml", "restart.yaml", "template.yaml"]);
    for name in samples() {
        succeeded(&apply_sample(&plane, &world.namespace, &name, &["--dry-run=server", "--validate=strict"]));
        succeeded(&apply_sample(&plane, &world.namespace, &name, &[]));
    }
    // They wait for their source, as the comments in them say, and start by themselves.
    world.wait_for("squadcast", "Ready", "False", "RefreshTokenSecretNotFound").await;
    world.refresh_token("squadcast-refresh-token", "rt-sample").await;
    let names = ["squadcast", "squadcast-eu", "squadcast-header", "squadcast-merge", "squadcast-restart"];
    let all: Vec<String> = names.iter().map(|name| format!("squadcastcredential/{name}")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let wait = ["wait", "--for=condition=Ready", "--timeout=60s", "-n", &world.namespace];
    succeeded(&plane.kubectl(&[&wait, &all[..]].concat()));

    let good = async |secret: &str, key: &str, prefix: &str| {
        let data = world.secret_data(secret).await;
        let token = data[key].strip_prefix(prefix).unwrap_or_default();
        assert!(world.squadcast.is_good(token), "{secret}");
        data
    };
    good("squadcast-token", "access_token", "").await;
    good("squadcast-eu-token", "access_token", "").await;
    let header = good("squadcast-header", "authorization", "Bearer ").await;
    assert_eq!(header.keys().collect::<Vec<_>>(), ["authorization", "users_url"]);
    assert!(header["users_url"].ends_with("/v3/users"), "{}", header["users_url"]);
    let merged = good("app-settings", "squadcast_token", "").await;
    assert_eq!(merged["log_level"], "info");
    let eu = world.get("squadcast-eu").await.unwrap();
    assert_eq!(eu["spec"]["renewBeforePercentage"], 25);

    // The consumers' Pods are made under the restricted standard, and name keys that there are.
    for (name, secret) in
        [("squadcast-consumer", "squadcast-header"), ("squadcast-restarted", "squadcast-restart-token")]
    {
        let pod = async || {
            let output = plane.kubectl(&[
                "get",
                "pods",
                "-n",
                &world.namespace,
                "-l",
                &format!("app={name}"),
                "-o",
                "json",
            ]);
            let pods: Value = serde_json::from_str(&succeeded(&output)).unwrap();
            unless(pods["items"].as_array().is_some_and(|items| items.len() == 1), pods)
        };
        let pods = eventually(&format!("a Pod of {name}"), DEADLINE, pod).await;
        assert!(pods.to_string().contains(&format!("\"{secret}\"")), "{pods}");
    }
    let consumer = json_of(&world, "deployment", "squadcast-restarted");
    assert_eq!(consumer["metadata"]["generation"], 1, "the first issue restarts nobody");
    let renew = json!({ "credentials.squadcast.com/renew-requested-at": "now" });
    world.patch("squadcast-restart", json!({ "metadata": { "annotations": renew } })).await;
    eventually("the restart", DEADLINE, async || {
        let consumer = json_of(&world, "deployment", "squadcast-restarted");
        unless(consumer["metadata"]["generation"] == 2, consumer["spec"]["template"].clone())
    })
    .await;
    let refused: Vec<_> =
        plane.requests_by(operator.user()).into_iter().filter(|r| r.code == Some(403)).collect();
    assert!(refused.is_empty(), "{refused:?}");
    people_with_view_and_edit(&world).await;
}

/// The roles that every cluster has let people see and change resources.
async fn people_with_view_and_edit(world: &World) {
    let plane = &world.plane;
    for (user, role) in [("alice", "edit"), ("bob", "view")] {
        let binding =
            ["create", "rolebinding", user, "--user", user, "--clusterrole", role, "-n", &world.namespace];
        succeeded(&plane.kubectl(&binding));
    }
    let may = |user: &str, verb: &str, what: &str| {
        let (what, subresource) = what.split_once('/').unwrap_or((what, ""));
        let subresource = format!("--subresource={subresource}");
        let args = ["auth", "can-i", verb, what, &subresource, "--as", user, "-n", &world.namespace];
        // Its exit code says no for whatever went wrong as well.
        let output = plane.kubectl(&args);
        match String::from_utf8_lossy(&output.stdout).trim() {
            "yes" => true,
            "no" => false,
            _ => panic!("kubectl {args:?}: {}", String::from_utf8_lossy(&output.stderr)),
        }
    };
    let resource = "squadcastcredentials.credentials.squadcast.com";
    eventually("the roles to be aggregated", DEADLINE, async || may("bob", "get", resource)).await;
    eventually("the roles to be aggregated", DEADLINE, async || may("alice", "create", resource)).await;
    for verb in ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"] {
        assert!(may("alice", verb, resource), "{verb}");
        assert_eq!(may("bob", verb, resource), ["get", "list", "watch"].contains(&verb), "{verb}");
    }
    assert!(!may("alice", "patch", &format!("{resource}/status")), "the status is the operator's");
    assert!(!may("carol", "get", resource));
    succeeded(&apply_sample(plane, &world.namespace, "eu.yaml", &["--as", "alice", "--force-conflicts"]));
    let refused = apply_sample(plane, &world.namespace, "eu.yaml", &["--as", "bob"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("forbidden"));
}
