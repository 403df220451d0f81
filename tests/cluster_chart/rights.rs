//! Rights granted are rights used: what the chart's roles allow beside what the audit log counted over the whole
//! life of a credential, and no request refused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::authorization::v1::{SelfSubjectRulesReview, SelfSubjectRulesReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client, Config, config::KubeConfigOptions, config::Kubeconfig};
use serde_json::json;

use crate::release::{Release, knows, with};
use crate::support::audit::Request;
use crate::support::controlplane::{WORKLOAD_CONTROLLERS, definition_file};
use crate::support::eventually::unless;
use crate::support::world::{REGION, World};
use crate::support::{ControlPlane, DEADLINE, Operator, Options, eventually};

/// A verb on a resource, such as `patch secrets` or `patch squadcastcredentials.credentials.squadcast.com/status`.
type Rights = BTreeSet<String>;

/// How the tests ask for the rights themselves.
const REVIEW: &str = "selfsubjectrulesreviews";

/// What every client that works with these kinds may do. The operator has a resource from its watch, and writes
/// each event once.
const SPARE: [&str; 2] = ["get squadcastcredentials.credentials.squadcast.com", "patch events.events.k8s.io"];

/// A list comes through the watch where the API server can do that, and that of the tests can.
const STREAMED: [&str; 2] = ["list secrets", "list squadcastcredentials.credentials.squadcast.com"];

fn right(verb: &str, group: &str, resource: &str, name: &str) -> String {
    let (resource, sub) = resource.split_once('/').unwrap_or((resource, ""));
    let part =
        |before: &str, text: &str| if text.is_empty() { String::new() } else { format!("{before}{text}") };
    format!("{verb} {resource}{}{}{}", part(".", group), part("/", sub), part(" ", name))
}

/// What the API server lets the operator do in a namespace, but for what it lets every service account do.
async fn granted(release: &Release, namespace: &str) -> Rights {
    let user = release.user().await;
    let account = user.rsplit(':').next().unwrap();
    let everybody = rights_of(release, "nobody", namespace).await;
    rights_of(release, account, namespace).await.difference(&everybody).cloned().collect()
}

async fn rights_of(release: &Release, account: &str, namespace: &str) -> Rights {
    release.apply(&json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "nobody" },
    }));
    let file = release.plane.kubeconfig_of(&release.namespace, account).await;
    let kubeconfig = Kubeconfig::read_from(file).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    let api: Api<SelfSubjectRulesReview> = Api::all(Client::try_from(config).unwrap());
    let review = SelfSubjectRulesReview {
        spec: SelfSubjectRulesReviewSpec { namespace: Some(namespace.to_owned()) },
        ..Default::default()
    };
    let status = api.create(&PostParams::default(), &review).await.unwrap().status.unwrap();
    assert!(!status.incomplete);
    let mut rights = Rights::new();
    for rule in status.resource_rules {
        let names = rule.resource_names.unwrap_or_default();
        let names = if names.is_empty() { vec![String::new()] } else { names };
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                for name in &names {
                    rights.extend(rule.verbs.iter().map(|verb| right(verb, group, resource, name)));
                }
            }
        }
    }
    rights
}

/// What its requests needed, and how often. Leases carry their name: the right is bound to it, but for creation.
fn counted(requests: &[Request]) -> BTreeMap<String, usize> {
    let needed = |request: &Request| {
        let Request { verb, group, resource, subresource, name, .. } = request;
        let named = if resource == "leases" && verb != "create" { name } else { "" };
        let whole =
            if subresource.is_empty() { resource.clone() } else { format!("{resource}/{subresource}") };
        right(verb, group, &whole, named)
    };
    let theirs = |request: &&Request| !request.resource.is_empty() && request.resource != REVIEW;
    let mut counted = BTreeMap::new();
    for right in requests.iter().filter(theirs).map(needed) {
        *counted.entry(right).or_default() += 1;
    }
    counted
}

/// Each of these rights is used by a life like that of [`whole_life`]; `spaces` are the namespaces whose resources
/// are kept. Prints what `kubectl auth can-i --list` says, and each right beside its count in the audit log.
async fn assert_granted_is_used(release: &Release, mode: &str, spaces: &[&str], streamed: bool) {
    let user = release.user().await;
    let requests: Vec<Request> = release.plane.requests_by(&user);
    let refused: Vec<_> = requests.iter().filter(|r| matches!(r.code, Some(401 | 403))).collect();
    let counted = counted(&requests);
    println!("\n==> helm install {}, {mode}", release.name);
    let mut granted_in: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for space in spaces {
        for right in granted(release, space).await {
            granted_in.entry(right).or_default().push(space);
        }
        let args = ["auth", "can-i", "--list", "--as", &user, "-n", space];
        let listed = release.plane.kubectl(&args).stdout;
        println!("\n$ kubectl {}\n{}", args.join(" "), String::from_utf8_lossy(&listed));
    }
    let (total, refusals) = (counted.values().sum::<usize>(), refused.len());
    println!(
        "Beside the audit log of a credential's whole life: {total} requests for resources, {refusals} of all refused"
    );
    let all: Rights = granted_in.keys().chain(counted.keys()).cloned().collect();
    for right in &all {
        let spaces = granted_in.get(right).map_or_else(|| "NOT GRANTED".to_owned(), |in_| in_.join(", "));
        println!("{:5} × {right:70} granted in {spaces}", counted.get(right).unwrap_or(&0));
    }
    assert!(refused.is_empty(), "refused: {refused:?}");
    let beyond: Vec<_> = counted.keys().filter(|&right| !granted_in.contains_key(right)).collect();
    assert!(beyond.is_empty(), "used without being granted, yet not refused: {beyond:?}");
    let spare: Rights =
        SPARE.iter().chain(STREAMED.iter().filter(|_| streamed)).map(|&s| s.to_owned()).collect();
    let unused: Rights = granted_in.keys().filter(|&right| !counted.contains_key(right)).cloned().collect();
    assert_eq!(unused, spare, "what is granted and never used");
}

/// One credential from its first issue to its end, through everything that needs a right.
async fn whole_life(world: &World, operator: &Operator, restarts: bool) {
    world.refresh_token("one-source", "rt-one").await;
    let workloads: Vec<_> = ["Deployment", "StatefulSet", "DaemonSet"]
        .into_iter()
        .filter(|_| restarts)
        .map(|kind| json!({ "kind": kind, "name": "app" }))
        .collect();
    for workload in &workloads {
        world.kubectl_apply(&workload_of(workload["kind"].as_str().unwrap()));
    }
    let spec = |target: &str| {
        let mut spec = json!({
            "region": REGION,
            "refreshTokenSecretRef": { "name": "one-source" },
            "target": { "name": target },
        });
        if restarts {
            spec["rolloutRestartTargets"] = workloads.clone().into();
        }
        spec
    };
    // Created; renewed, with restarts; moved to another Secret, the former one deleted.
    world.apply("one", spec("one-target")).await;
    world.wait_ready("one").await;
    let renew = json!({ "credentials.squadcast.com/renew-requested-at": "now" });
    world.patch("one", json!({ "metadata": { "annotations": renew } })).await;
    eventually("the renewal", DEADLINE, async || {
        let status = world.get("one").await.unwrap()["status"].clone();
        unless(status["lastHandledRenewRequest"] == "now", status)
    })
    .await;
    world.apply("one", spec("two-target")).await;
    eventually("the former target to go", DEADLINE, async || {
        world.secret("one-target").await.is_none() && world.secret("two-target").await.is_some()
    })
    .await;
    // A failure, told in an event; recovery; the end.
    world.squadcast.revoke("rt-one");
    world.put_secret("one-source", &[("refresh_token", "rt-bad")]).await;
    world.wait_for("one", "Synced", "False", "RefreshTokenRejected").await;
    world.refresh_token("one-source", "rt-two").await;
    world.wait_for("one", "Synced", "True", "Synced").await;
    world.wait_ready("one").await;
    let told = async || {
        let reasons = world.event_reasons("one").await;
        unless(reasons.contains(&"RefreshTokenRejected".to_owned()), reasons)
    };
    eventually("the events", DEADLINE, told).await;
    world.delete("one").await;
    eventually("the target to go with its resource", DEADLINE, async || {
        world.secret("two-target").await.is_none()
    })
    .await;
    // The lease is given back, not left to expire.
    operator.sigterm();
    assert_eq!(operator.wait_exit(DEADLINE).await, 0);
}

fn workload_of(kind: &str) -> String {
    let template = json!({
        "metadata": { "labels": { "app": "app" } },
        "spec": { "containers": [{ "name": "c", "image": "none.example/none" }] },
    });
    let mut spec = json!({ "selector": { "matchLabels": { "app": "app" } }, "template": template });
    if kind != "DaemonSet" {
        spec["replicas"] = 0.into();
    }
    if kind == "StatefulSet" {
        spec["serviceName"] = "none".into();
    }
    json!({ "apiVersion": "apps/v1", "kind": kind, "metadata": { "name": "app" }, "spec": spec }).to_string()
}

/// A control plane of its own: with rights in all namespaces, an operator would keep other tests' resources too.
fn own_cluster() -> Arc<ControlPlane> {
    Arc::new(ControlPlane::start_with(&Options {
        controllers: WORKLOAD_CONTROLLERS.map(str::to_owned).to_vec(),
        definitions: std::fs::read_to_string(definition_file()).into_iter().collect(),
        // As by default in 1.33, which streams no lists.
        api_server_flags: vec!["--feature-gates=WatchList=false".to_owned()],
        ..Options::default()
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_right_in_all_namespaces_is_used_and_nothing_is_refused() {
    let plane = own_cluster();
    let world = World::bare(&plane, "team").await;
    let release = Release::new(&plane, "squadcast-operator", "squadcast-operator");
    let values = with(knows(&release, &world.squadcast), json!({ "crds": { "install": false } }));
    release.install(&values);
    let operator = release.operator().await;
    whole_life(&world, &operator, false).await;
    let spaces = [world.namespace.as_str(), &release.namespace];
    assert_granted_is_used(&release, "all namespaces", &spaces, false).await;

    // With the right to restart workloads, all three kinds are.
    release.upgrade(&with(values, json!({ "rbac": { "rolloutRestarts": true } })));
    let operator = release.operator().await;
    whole_life(&world, &operator, true).await;
    let mode = "all namespaces, rbac.rolloutRestarts=true";
    assert_granted_is_used(&release, mode, &spaces, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_namespaced_mode_every_right_is_used_and_none_is_cluster_wide() {
    let plane = ControlPlane::shared();
    let world = World::new("rights").await;
    let other = World::bare(plane, "rights-other").await;
    let release = Release::new(plane, "rights", &format!("{}-system", world.namespace));
    let values = with(
        knows(&release, &world.squadcast),
        json!({
            "crds": { "install": false },
            "namespaces": [world.namespace],
            "rbac": { "rolloutRestarts": true },
            "requireSourceLabel": false,
        }),
    );
    release.install(&values);
    let cluster_wide =
        plane.kubectl(&["get", "clusterrole,clusterrolebinding", "-l", "app.kubernetes.io/instance=rights"]);
    assert!(cluster_wide.stdout.is_empty(), "{}", String::from_utf8_lossy(&cluster_wide.stdout));
    let operator = release.operator().await;
    whole_life(&world, &operator, true).await;
    let mode = format!("namespaces={{{}}}, rbac.rolloutRestarts=true", world.namespace);
    let spaces = [world.namespace.as_str(), &release.namespace];
    assert_granted_is_used(&release, &mode, &spaces, plane.streams_lists()).await;
    let elsewhere = granted(&release, &other.namespace).await;
    println!("in any other namespace, or for the whole cluster: {} rights", elsewhere.len());
    assert_eq!(elsewhere, Rights::new());
    let outside: Vec<_> = plane
        .requests_by(operator.user())
        .into_iter()
        .filter(|r| !r.resource.is_empty() && r.resource != REVIEW)
        .filter(|r| ![&world.namespace, &release.namespace].contains(&&r.namespace))
        .collect();
    assert!(outside.is_empty(), "{outside:?}");
}
