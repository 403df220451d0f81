//! The status of a resource that nobody has looked at yet, that lost it, or that was made anew.

use kube::api::{DeleteParams, Patch, PatchParams, PropagationPolicy};
use serde_json::{Value, json};

use super::{create, full_cycle, names, renews_after, spec, version};
use crate::{
    OPERATOR,
    support::{
        DEADLINE, eventually,
        eventually::unless,
        squadcast::Reply,
        world::{World, condition},
    },
};

/// The status as it was but for what only the operator's memory could tell.
async fn status_is_back(world: &World, name: &str, before: &Value) {
    eventually(&format!("the status of {name} to be back"), DEADLINE, async || {
        let status = world.get(name).await.ok_or("no resource")?["status"].clone();
        let same = ["issuedAt", "expiresAt", "renewAt", "targetName"]
            .iter()
            .all(|field| status[field] == before["status"][field] && status[field].is_string());
        let ready = condition(&json!({ "status": status }), "Ready").is_some_and(|c| c["status"] == "True");
        if same && ready { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn a_status_that_was_lost_comes_back_without_an_exchange() {
    let world = World::new("lost").await;
    let operator = world.operator(OPERATOR, &[]).await;
    let before = full_cycle(&world, "x").await;
    let written = version(&world, "x-target").await;
    let lose = async || {
        let patch = Patch::Merge(json!({"status": null}));
        let lost = world.credentials().patch_status("x", &PatchParams::default(), &patch).await.unwrap();
        assert!(lost.data["status"].get("conditions").is_none(), "{}", lost.data);
    };

    lose().await;
    status_is_back(&world, "x", &before).await;

    operator.kill();
    lose().await;
    let _operator = world.operator(OPERATOR, &[]).await;
    status_is_back(&world, "x", &before).await;

    full_cycle(&world, "other").await;
    assert_eq!(world.squadcast.count("rt-x"), 1);
    assert_eq!(version(&world, "x-target").await, written);
}

#[tokio::test]
async fn a_resource_made_anew_takes_over_a_healthy_secret_without_an_exchange() {
    let world = World::new("anew").await;
    let _operator = world.operator(OPERATOR, &[]).await;
    for (policy, propagation) in
        [("Orphan", PropagationPolicy::Background), ("Owner", PropagationPolicy::Orphan)]
    {
        let name = policy.to_lowercase();
        let (_, target, refresh_token) = names(&name);
        let more = json!({ "creationPolicy": policy });
        create(&world, &name, Reply::token(), &more).await;
        let before = world.wait_ready(&name).await;
        let secret = world.secret(&target).await.unwrap();

        world.collector_has_caught_up(&name).await;
        let params = DeleteParams { propagation_policy: Some(propagation), ..DeleteParams::default() };
        world.credentials().delete(&name, &params).await.unwrap();
        eventually("the resource to be gone", DEADLINE, async || world.get(&name).await.is_none()).await;
        let again = world.apply(&name, spec(&name, &more)).await;
        assert_ne!(again["metadata"]["uid"], before["metadata"]["uid"]);
        status_is_back(&world, &name, &before).await;

        eventually("its controller reference", DEADLINE, async || {
            let owners = world.secret(&target).await.unwrap().metadata.owner_references.unwrap_or_default();
            let uids: Vec<_> = owners.iter().map(|owner| owner.uid.clone()).collect();
            let wanted: &[&str] =
                if policy == "Owner" { &[again["metadata"]["uid"].as_str().unwrap()] } else { &[] };
            unless(uids == wanted, uids)
        })
        .await;
        let after = world.secret(&target).await.unwrap();
        assert_eq!((after.metadata.uid, after.data), (secret.metadata.uid, secret.data), "{policy}");
        assert_eq!(world.squadcast.count(&refresh_token), 1, "{policy}");
    }
}

#[tokio::test]
async fn the_observed_generation_is_minus_one_until_somebody_has_looked() {
    let world = World::new("generation").await;
    create(&world, "x", Reply::token(), &json!({})).await;
    assert_eq!(world.get("x").await.unwrap()["status"], json!({"observedGeneration": -1}));
    let _operator = world.operator(OPERATOR, &[]).await;
    let resource = world.wait_ready("x").await;
    let of = |resource: &Value| {
        let status = &resource["status"];
        let conditions = status["conditions"].as_array().unwrap();
        let of_conditions = conditions.iter().map(|c| c["observedGeneration"].as_i64().unwrap());
        let mut all = vec![status["observedGeneration"].as_i64().unwrap()];
        all.extend(of_conditions);
        all
    };
    assert_eq!(of(&resource), [1, 1, 1]);

    world.patch("x", json!({"spec": {"renewBefore": "1h"}})).await;
    let changed = eventually("the new generation", DEADLINE, async || {
        let resource = world.get("x").await.unwrap();
        if resource["status"]["observedGeneration"] == 2 {
            Ok(resource)
        } else {
            Err(resource["status"].to_string())
        }
    })
    .await;
    assert_eq!(of(&changed), [2, 2, 2]);
    renews_after(&changed, 47 * 3600);
    let transition = |resource| condition(resource, "Ready").unwrap()["lastTransitionTime"].clone();
    assert_eq!(transition(&changed), transition(&resource));
    assert_eq!(world.squadcast.count("rt-x"), 1);
}
