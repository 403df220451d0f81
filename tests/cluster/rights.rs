//! The rights that the documentation asks for, under an API server that checks owners too.

use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::{
    OPERATOR,
    administrator::{ALL, grant},
    support::{
        DEADLINE, eventually,
        world::{REGION, World},
    },
};

fn owned(policy: &str) -> Value {
    json!({
        "region": REGION,
        "refreshTokenSecretRef": { "name": "source" },
        "target": { "name": "target", "creationPolicy": policy },
    })
}

#[tokio::test]
async fn a_target_gets_and_loses_its_owner_where_the_api_server_asks_for_the_right_to_set_one() {
    let world = World::new("owners").await;
    let user = format!("limited-{}", world.namespace);
    grant(&world, &user, ALL);
    world.refresh_token("source", "rt").await;
    world.apply("one", owned("Orphan")).await;
    let uid = world.get("one").await.unwrap()["metadata"]["uid"].clone();

    // The API server does check: this user may not make an owner that blocks its deletion.
    let secret: Secret = serde_json::from_value(json!({
        "metadata": { "name": "blocking", "ownerReferences": [{
            "apiVersion": "credentials.squadcast.com/v1alpha1", "kind": "SquadcastCredential",
            "name": "one", "uid": uid, "controller": true, "blockOwnerDeletion": true,
        }] },
    }))
    .unwrap();
    let limited = kube::Api::<Secret>::namespaced(world.plane.client_for(&user, &[]), &world.namespace);
    eventually("the API server to know of the rights, and refuse", DEADLINE, async || {
        let refused = limited.create(&PostParams::default(), &secret).await.unwrap_err().to_string();
        if refused.contains("blockOwnerDeletion") { Ok(()) } else { Err(refused) }
    })
    .await;

    let operator = world.launch_as(OPERATOR, &user, &[]).start();
    operator.wait_ready().await;
    world.wait_ready("one").await;
    for policy in ["Owner", "Orphan", "Owner"] {
        world.apply("one", owned(policy)).await;
        let wanted = (policy == "Owner").then(|| uid.as_str().unwrap().to_owned());
        eventually(&format!("the owner under {policy}"), DEADLINE, async || {
            let owners = world.secret("target").await.and_then(|s| s.metadata.owner_references);
            owners.unwrap_or_default().first().map(|owner| owner.uid.clone()) == wanted
        })
        .await;
    }
    // And with it created anew.
    world.delete_secret("target").await;
    eventually("the target to be back", DEADLINE, async || {
        let owners = world.secret("target").await.and_then(|s| s.metadata.owner_references);
        owners.is_some_and(|owners| owners[0].uid == uid && owners[0].controller == Some(true))
    })
    .await;
    world.wait_ready("one").await;
    assert_eq!(world.squadcast.count("rt"), 2);
    assert_eq!(world.condition("one", "Synced").await.unwrap()["reason"], "Synced");
}
