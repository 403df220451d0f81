//! From an empty cluster to a workload whose mounted token changes, and what it costs.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::consumer::fingerprint;
use crate::cost::tell_costs;
use crate::image;
use crate::node::{Node, process};
use crate::stage::{Stage, figure, name, restarts, stage, tell};
use crate::support::eventually::unless;
use crate::support::world::World;
use crate::support::{DEADLINE, Reply, eventually};

/// A kubelet that is in no hurry brings a changed Secret to its Pods after a minute or two.
const MOUNTED: Duration = Duration::from_secs(180);

/// A workload that reads the token from a volume, and says what it read.
fn consumer() -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": "consumer" },
        "spec": {
            "selector": { "matchLabels": { "app": "consumer" } },
            "template": {
                "metadata": { "labels": { "app": "consumer" } },
                "spec": {
                    "automountServiceAccountToken": false,
                    "terminationGracePeriodSeconds": 1,
                    "securityContext": {
                        "runAsNonRoot": true,
                        "fsGroup": 65532,
                        "seccompProfile": { "type": "RuntimeDefault" },
                    },
                    "containers": [{
                        "name": "consumer",
                        "image": image::CONSUMER,
                        "args": ["/var/run/squadcast/access_token"],
                        "securityContext": {
                            "allowPrivilegeEscalation": false,
                            "readOnlyRootFilesystem": true,
                            "capabilities": { "drop": ["ALL"] },
                        },
                        "volumeMounts": [
                            { "name": "squadcast", "mountPath": "/var/run/squadcast", "readOnly": true },
                        ],
                    }],
                    "volumes": [
                        { "name": "squadcast", "secret": { "secretName": "squadcast-token", "defaultMode": 0o440 } },
                    ],
                },
            },
        },
    })
}

/// The consumer's only Pod.
async fn pod(stage: &Stage, world: &World) -> Value {
    stage.ready(&world.namespace, "app=consumer", 1).await.remove(0)
}

/// Waits until a Pod has read the token that the Secret holds; answers with all that it wrote.
async fn read(node: &Node, world: &World, pod: &Value) -> String {
    let token = world.secret_data("squadcast-token").await["access_token"].clone();
    let wanted = format!("token {}", fingerprint(&token));
    let log = eventually("the token in the mounted file", MOUNTED, async || {
        let log = node.log(&world.namespace, name(pod));
        unless(log.lines().last() == Some(&wanted), log)
    })
    .await;
    tell(&format!("pod/{} reads: {wanted}", name(pod)));
    log
}

async fn renewed(world: &World, stage: &Stage, request: &str) {
    let before = world.secret_data("squadcast-token").await["access_token"].clone();
    let annotation = format!("credentials.squadcast.com/renew-requested-at={request}");
    stage.kubectl(&world.namespace, &format!("annotate sqc squadcast --overwrite {annotation}"), "");
    eventually("the new token", DEADLINE, async || {
        world.secret_data("squadcast-token").await["access_token"] != before
    })
    .await;
    tell("the Secret holds a new token");
}

#[tokio::test(flavor = "multi_thread")]
async fn from_an_empty_cluster_to_a_mounted_token_that_changes() {
    let (stage, _turn) = stage().await;
    let world = stage.space("team").await;
    let (node, space) = (&stage.node, world.namespace.as_str());
    stage.squadcast.script("rt-team", Reply::token());
    for pod in stage.operators() {
        assert_eq!(restarts(&pod), 0, "{pod}");
        assert_eq!(pod["spec"]["serviceAccountName"], "squadcast-operator");
        // From the image, by its user; nothing of this machine is in it.
        let pid = process(&pod);
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(
            status.contains("Uid:\t65532\t65532") && status.contains("CapEff:\t0000000000000000"),
            "{status}"
        );
        assert!(status.contains("Seccomp:\t2") && status.contains("NoNewPrivs:\t1"), "{status}");
    }

    // The consumer is there first, and waits for its Secret without any help.
    stage.kubectl(space, "apply -f -", &consumer().to_string());
    eventually("the kubelet to miss the Secret", DEADLINE, async || {
        let events = node.json(&["get", "events", "-n", space]).to_string();
        unless(events.contains("secret \\\"squadcast-token\\\" not found"), events)
    })
    .await;
    tell("the consumer's Pod waits for its Secret");

    let began = Instant::now();
    let source = "create secret generic squadcast-refresh-token --from-literal=refresh_token=rt-team";
    stage.kubectl(space, source, "");
    let applied = Instant::now();
    stage.kubectl(space, "apply -f deploy/samples/basic.yaml", "");
    stage.kubectl(space, "wait --for=condition=Ready sqc/squadcast --timeout=60s", "");
    let ready = applied.elapsed();
    stage.kubectl(space, "get sqc", "");
    let first = pod(stage, &world).await;
    read(node, &world, &first).await;
    let mounted = began.elapsed();
    assert_eq!(restarts(&first), 0);

    renewed(&world, stage, "first").await;
    let began = Instant::now();
    let log = read(node, &world, &first).await;
    let changed = began.elapsed();
    let still = pod(stage, &world).await;
    assert_eq!((name(&still), restarts(&still)), (name(&first), 0), "it saw the new token without a restart");
    assert_eq!(log.lines().count(), 3, "{log}");

    // Asked for, the consumer is restarted; not for the token that is there already.
    let targets = r#"{"spec":{"rolloutRestartTargets":[{"kind":"Deployment","name":"consumer"}]}}"#;
    stage.kubectl(space, &format!("patch sqc squadcast --type=merge -p {targets}"), "");
    renewed(&world, stage, "second").await;
    let began = Instant::now();
    let next = eventually("another Pod in the place of the first", MOUNTED, async || {
        let pods = node.pods(space, "app=consumer");
        let next = pods.iter().find(|pod| name(pod) != name(&first)).cloned();
        let gone = pods.iter().all(|pod| name(pod) != name(&first));
        unless(gone && next.is_some(), pods.len()).map(|_| next)
    })
    .await
    .expect("a Pod");
    let log = read(node, &world, &next).await;
    let restarted = began.elapsed();
    assert_eq!(log.lines().count(), 2, "it starts with the new token: {log}");
    assert_eq!(stage.squadcast.count("rt-team"), 3, "one exchange for each token");

    figure(&format!(
        "helm install --wait: {:.1} s until both Pods were ready",
        stage.installed.as_secs_f64()
    ));
    figure(&format!("sample applied: Ready after {:.1} s", ready.as_secs_f64()));
    figure(&format!("Secret applied: mounted and read after {:.1} s", mounted.as_secs_f64()));
    figure(&format!(
        "renewed: in the mounted file after {:.1} s (kubelet's syncFrequency 5s)",
        changed.as_secs_f64()
    ));
    figure(&format!(
        "renewed with rolloutRestartTargets: the new Pod read it after {:.1} s",
        restarted.as_secs_f64()
    ));
    tell_costs(stage).await;
}
