//! What the process waits for before it is ready, and that it says so meanwhile.

use std::sync::Arc;

use crate::{
    OPERATOR,
    administrator::{ALL, grant},
    support::{
        Component, ControlPlane, DEADLINE, Operator,
        controlplane::definition_file,
        eventually,
        eventually::unless,
        world::{World, install_crd},
    },
};

/// Waits until `/readyz` is 503 and says this; `/livez` is 200 meanwhile.
async fn waits_for(operator: &Operator, parts: &[&str]) {
    let told = eventually(&format!("/readyz to say {parts:?}"), DEADLINE, async || {
        let (status, body) = operator.get("/readyz").map_err(|error| error.to_string())?;
        unless(status == 503 && parts.iter().all(|part| body.contains(part)), (status, body))
    })
    .await;
    assert_eq!(operator.get("/livez").unwrap().0, 200, "while {told:?}");
    for part in parts {
        operator.wait_for_log(part).await;
    }
    assert_eq!(operator.exit_code(), None);
}

#[tokio::test]
async fn waits_for_the_api_server_then_for_the_definition_and_then_works() {
    let plane = Arc::new(ControlPlane::start());
    let world = World::bare(&plane, "waits").await;
    world.refresh_token("source", "rt-waits").await;
    plane.kill(Component::ApiServer);
    let operator = world.launch(OPERATOR).start();
    waits_for(&operator, &["the API server cannot be reached"]).await;

    plane.restart(Component::ApiServer);
    let definition = "squadcastcredentials.credentials.squadcast.com is not installed";
    waits_for(&operator, &["CustomResourceDefinition", definition]).await;

    install_crd(&world.client, &std::fs::read_to_string(definition_file()).unwrap()).await;
    operator.wait_ready().await;
    world.credential("x", "source", "target").await;
    world.wait_ready("x").await;
    let log = operator.log();
    // Said once each, not at every try.
    assert_eq!(log.matches(definition).count(), 1, "{log}");

    // A process that has nothing to reach stops as readily.
    plane.kill(Component::ApiServer);
    let waiting = world.launch(OPERATOR).start();
    waits_for(&waiting, &["the API server cannot be reached"]).await;
    waiting.sigterm();
    assert_eq!(waiting.wait_exit(DEADLINE).await, 0);
}

#[tokio::test]
async fn is_ready_only_when_the_secrets_of_every_namespace_are_listed() {
    let (here, there) = (World::new("here").await, World::new("there").await);
    let user = format!("limited-{}", here.namespace);
    grant(&here, &user, ALL);
    grant(&there, &user, "get");
    let namespaces = format!("--namespaces={}", there.namespace);
    let operator = here.launch_as(OPERATOR, &user, &[]).arg(namespaces).start();
    eventually("the Secrets of one namespace to be listed", DEADLINE, async || {
        operator
            .log_lines()
            .into_iter()
            .find(|line| ["Secrets in", &here.namespace, "listed"].iter().all(|part| line.contains(part)))
    })
    .await;
    waits_for(&operator, &["may not list and watch Secrets", &there.namespace]).await;
    assert!(!operator.log().contains("was interrupted"), "{}", operator.log());
    grant(&there, &user, ALL);
    operator.wait_ready().await;
}
