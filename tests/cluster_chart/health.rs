//! How tools that deploy see real objects in each state: the check for Argo CD, and kstatus, which Flux and helm use.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::OPERATOR;
use crate::support::controlplane::{built, repository};
use crate::support::eventually::unless;
use crate::support::squadcast::Reply;
use crate::support::world::{REGION, World, condition};
use crate::support::{DEADLINE, eventually};

/// What kstatus and the check for Argo CD say of an object, and the check's message.
fn verdict(object: &Value) -> (String, String, String) {
    let mut child = Command::new(built("helm", &["helm", "health"]).join("health"))
        .arg(repository().join("deploy/argocd/health.lua"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program");
    child.stdin.take().unwrap().write_all(object.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |field: &str| said[field].as_str().unwrap_or_default().to_owned();
    (text("kstatus"), text("argocd"), text("message"))
}

fn assert_seen(object: &Value, kstatus: &str, argocd: &str, says: &str) {
    let (in_kstatus, in_argocd, message) = verdict(object);
    assert_eq!((in_kstatus.as_str(), in_argocd.as_str()), (kstatus, argocd), "{message}: {object}");
    assert!(message.contains(says), "no {says:?} in {message:?}");
}

fn spec(name: &str) -> Value {
    json!({
        "region": REGION,
        "refreshTokenSecretRef": { "name": format!("{name}-source") },
        "target": { "name": format!("{name}-target") },
    })
}

async fn create(world: &World, name: &str, reply: Reply) {
    world.squadcast.script(&format!("rt-{name}"), reply);
    world.put_secret(&format!("{name}-source"), &[("refresh_token", &format!("rt-{name}"))]).await;
    world.apply(name, spec(name)).await;
}

async fn wait(world: &World, name: &str, kind: &str, is: &str) -> Value {
    eventually(&format!("{name} to have {kind} {is}"), DEADLINE, async || {
        let resource = world.get(name).await.ok_or("no resource")?;
        let seen = resource["status"]["observedGeneration"] == resource["metadata"]["generation"];
        let found = condition(&resource, kind);
        let fits = found.is_some_and(|found| found["status"] == is || found["reason"] == is);
        unless(seen && fits, resource)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn argo_cd_and_kstatus_agree_on_every_state() {
    let world = World::new("health").await;
    create(&world, "good", Reply::token()).await;
    assert_seen(&world.get("good").await.unwrap(), "InProgress", "Progressing", "has not looked");
    let operator = world.operator(OPERATOR, &[]).await;
    create(&world, "ended", Reply::token()).await;
    create(&world, "broken", Reply::error(503)).await;
    create(&world, "revoked", Reply::error(401)).await;
    world.apply("early", spec("early")).await;

    assert_seen(&wait(&world, "good", "Ready", "True").await, "Current", "Healthy", "");
    let early = wait(&world, "early", "Ready", "RefreshTokenSecretNotFound").await;
    assert_seen(&early, "InProgress", "Progressing", "RefreshTokenSecretNotFound");
    let broken = wait(&world, "broken", "Ready", "ServiceUnavailable").await;
    assert_seen(&broken, "InProgress", "Progressing", "ServiceUnavailable");
    let revoked = wait(&world, "revoked", "Stalled", "RefreshTokenRejected").await;
    assert_seen(&revoked, "Failed", "Degraded", "RefreshTokenRejected");

    // A renewal that fails while the token is good.
    wait(&world, "ended", "Ready", "True").await;
    world.squadcast.script("rt-ended", Reply::error(503));
    let renew = json!({ "credentials.squadcast.com/renew-requested-at": "now" });
    world.patch("ended", json!({ "metadata": { "annotations": renew } })).await;
    let failing = wait(&world, "ended", "Synced", "ServiceUnavailable").await;
    assert_seen(&failing, "Current", "Healthy", "ServiceUnavailable");

    world.patch("good", json!({ "spec": { "suspend": true } })).await;
    let suspended = wait(&world, "good", "Synced", "Suspended").await;
    assert_seen(&suspended, "Current", "Suspended", "suspend");
    world.patch("early", json!({ "spec": { "suspend": true } })).await;
    let suspended = wait(&world, "early", "Ready", "Suspended").await;
    assert_seen(&suspended, "InProgress", "Suspended", "suspend");

    // A spec that nobody has looked at since it changed.
    operator.sigterm();
    assert_eq!(operator.wait_exit(DEADLINE).await, 0);
    world.patch("ended", json!({ "spec": { "renewBefore": "1h" } })).await;
    let changed = world.get("ended").await.unwrap();
    assert_seen(&changed, "InProgress", "Progressing", "has not looked");
}
