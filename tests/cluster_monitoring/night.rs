//! Three faults as the person who is paged sees them: `docs/at-night.md` holds what this prints.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::document::{section, tells};
use crate::prometheus::{Prometheus, rules};
use crate::release::{Release, file};
use crate::support::world::{World, condition};
use crate::support::{DEADLINE, Squadcast, eventually};

/// One fault: what happened, the resource that shows it, and the alert that tells of it.
struct Fault {
    title: &'static str,
    story: &'static str,
    name: &'static str,
    alert: &'static str,
}

const FAULTS: [Fault; 3] = [
    Fault {
        title: "1. The refresh token was revoked",
        story: "Somebody revoked the refresh token of `pager` in Squadcast's web application. The next renewal was refused, and\nrefused again.",
        name: "pager",
        alert: "SquadcastCredentialNotReady",
    },
    Fault {
        title: "2. The auth host cannot be reached",
        story: "The way from the cluster to the auth host of region `eu` is closed when `fleet` is to be renewed.",
        name: "fleet",
        alert: "SquadcastExchangesFailing",
    },
    Fault {
        title: "3. The chart was installed without the right to restart workloads",
        story: "`reports` asks for restarts of a Deployment, and its token was renewed. `rbac.rolloutRestarts` is false.",
        name: "reports",
        alert: "SquadcastCredentialNotSynced",
    },
];

const HEAD: &str = "# At night

Three faults as the person who is paged sees them: `kubectl get`, `kubectl describe`, the alert, and the entry of the
runbook that the alert leads to. `make pages` writes this page from a run with the chart, the binary, a real API server and a
real Prometheus, and a test (`cluster_monitoring night::three_faults_as_the_person_who_is_paged_sees_them`) compares it with each
later run. Squadcast is a stand-in on this machine, so its hosts are `127.0.0.1`. Renewals are asked for by annotation, seconds after the
first token, where a real one comes after two thirds of its life. The alerts come without their `for`: a real one is some minutes later, as
[alerts.md](alerts.md) says.
";

/// The chart's release as it is installed by default, with both regions played by stand-ins.
fn install(world: &World, us: &Squadcast, eu: &Squadcast) -> Release {
    let release = Release::new(&world.plane, "squadcast-operator", &format!("{}-system", world.namespace));
    release.apply(&json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": "authorities" },
        "data": { "ca.crt": us.ca_pem() + &eu.ca_pem() },
    }));
    release.install(&json!({
        "crds": { "install": false },
        "namespaces": [world.namespace],
        "regions": { "us": { "authUrl": us.url() }, "eu": { "authUrl": eu.url() } },
        "caBundle": { "configMap": "authorities" },
    }));
    release
}

async fn issue(world: &World, squadcast: &Squadcast, name: &str, region: &str, more: Value) {
    let (source, token) = (format!("{name}-refresh-token"), format!("rt-{name}"));
    squadcast.accept(&token);
    world.put_secret(&source, &[("refresh_token", &token)]).await;
    let mut spec = json!({
        "region": region,
        "refreshTokenSecretRef": { "name": source },
        "target": { "name": format!("{name}-token") },
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    world.apply(name, spec).await;
    world.wait_ready(name).await;
}

/// Asks for a renewal now.
async fn renew(world: &World, name: &str, when: &str) {
    let annotations = json!({ "credentials.squadcast.com/renew-requested-at": when });
    world.patch(name, json!({ "metadata": { "annotations": annotations } })).await;
}

/// Three resources, and all is well.
async fn begin(world: &World, eu: &Squadcast) {
    world.workload("Deployment", "reports");
    let workloads = json!([{ "kind": "Deployment", "name": "reports" }]);
    issue(world, &world.squadcast, "pager", "us", json!({})).await;
    issue(world, eu, "fleet", "eu", json!({})).await;
    issue(world, &world.squadcast, "reports", "us", json!({ "rolloutRestartTargets": workloads })).await;
}

async fn break_everything(world: &World, eu: Squadcast) {
    world.squadcast.revoke("rt-pager");
    drop(eu);
    for (name, reason) in [
        ("pager", "RefreshTokenRejected"),
        ("fleet", "ConnectionFailed"),
        ("reports", "RolloutRestartFailed"),
    ] {
        renew(world, name, "once").await;
        world.wait_for(name, "Synced", "False", reason).await;
    }
    renew(world, "pager", "again").await;
    world.wait_for("pager", "Ready", "False", "RefreshTokenRejected").await;
}

/// What the alert says, as it is sent.
fn told(alert: &Value) -> String {
    let labels = &alert["labels"];
    let mut text = format!("{} ({})\n", text_of(&labels["alertname"]), text_of(&labels["severity"]));
    for note in ["summary", "description", "runbook_url"] {
        let _ = writeln!(text, "{note}: {}", text_of(&alert["annotations"][note]));
    }
    text
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The entry that the alert leads to, as a quotation.
fn runbook(alert: &Value) -> String {
    let url = text_of(&alert["annotations"]["runbook_url"]);
    let (path, anchor) = url.rsplit_once("/docs/").and_then(|(_, place)| place.split_once('#')).expect(url);
    let entry = section(&file(format!("docs/{path}")), anchor);
    let quoted = entry.lines().map(|line| format!("> {line}").trim_end().to_owned());
    let quoted =
        quoted.collect::<Vec<_>>().join("\n").replacen("> ### ", "> **", 1).replacen('\n', "**\n", 1);
    format!("[docs/{path}#{anchor}]({path}#{anchor}):\n\n{quoted}\n")
}

/// The command that asks about a resource, and what it prints.
fn kubectl(world: &World, verb: &str, name: &str) -> String {
    let (namespace, said) = (&world.namespace, world.kubectl(&[verb, "sqc", name]));
    format!("```console\n$ kubectl -n {namespace} {verb} sqc {name}\n{said}```\n")
}

/// The alert of a fault, once it fires.
async fn alert(prometheus: &Prometheus, fault: &Fault) -> Value {
    eventually(fault.alert, DEADLINE, async || {
        let firing = prometheus.firing()?;
        let named = |alert: &&Value| {
            let labels = &alert["labels"];
            labels["alertname"] == fault.alert && (labels["name"].is_null() || labels["name"] == fault.name)
        };
        firing.iter().find(named).cloned().ok_or_else(|| format!("{firing:?}"))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn three_faults_as_the_person_who_is_paged_sees_them() {
    let world = World::new("team").await;
    let eu = Squadcast::start();
    let release = install(&world, &world.squadcast, &eu);
    let operator = release.operator().await;
    operator.wait_for_log("leading").await;
    begin(&world, &eu).await;
    // At once instead of after some minutes; the last success is longer ago than any alert looks back.
    let rules: String = rules()
        .lines()
        .filter(|line| !line.starts_with("        for: "))
        .fold(String::new(), |text, line| text + line + "\n");
    let prometheus = Prometheus::watching(&operator, &release.namespace, &rules).await;
    break_everything(&world, eu).await;

    let mut page = HEAD.to_owned();
    for fault in &FAULTS {
        let alert = alert(&prometheus, fault).await;
        let get = kubectl(&world, "get", fault.name);
        let describe = kubectl(&world, "describe", fault.name);
        let _ = write!(
            page,
            "\n## {}\n\n{}\n\n{get}\n{describe}\nThe alert:\n\n```text\n{}```\n\nIts runbook, {}",
            fault.title,
            fault.story,
            told(&alert),
            runbook(&alert)
        );
    }
    let reports = world.get("reports").await.unwrap();
    assert_eq!(condition(&reports, "Ready").unwrap()["status"], "True", "its token is good all the same");
    tells("docs/at-night.md", &page);
}
