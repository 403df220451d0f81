//! A resource that a laxer definition let in and that does not decode.

use std::sync::Arc;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps,
};
use serde_json::{Value, json};

use super::{create, full_cycle};
use crate::{
    OPERATOR,
    support::{
        ControlPlane, DEADLINE, Options,
        controlplane::definition_file,
        eventually,
        eventually::unless,
        squadcast::Reply,
        world::{REGION, World},
    },
};

/// The repository's definition with a schema that takes anything, as an older or newer one might.
fn lax_definition() -> String {
    let yaml = std::fs::read_to_string(definition_file()).unwrap();
    let mut definition: CustomResourceDefinition = serde_saphyr::from_str(&yaml).unwrap();
    let anything = || JSONSchemaProps {
        type_: Some("object".to_owned()),
        x_kubernetes_preserve_unknown_fields: Some(true),
        ..JSONSchemaProps::default()
    };
    for version in &mut definition.spec.versions {
        version.selectable_fields = None;
        version.schema.as_mut().unwrap().open_api_v3_schema = Some(anything());
    }
    serde_json::to_string(&definition).unwrap()
}

#[tokio::test]
async fn an_object_that_does_not_decode_stops_only_itself() {
    let options = Options { definitions: vec![lax_definition()], ..Options::default() };
    let plane = Arc::new(ControlPlane::start_with(&options));
    let world = World::bare(&plane, "undecodable").await;
    let other_shape = json!({"region": REGION, "target": 5});
    world.apply("shape", other_shape).await;
    let operator = world.operator(OPERATOR, &[]).await;
    let undecodable = async |count: f64| {
        eventually(&format!("{count} undecodable objects"), DEADLINE, async || {
            let seen = operator.metric("squadcast_undecodable_objects");
            unless(seen.is_some_and(|seen| (seen - count).abs() < 0.5), seen)
        })
        .await;
    };
    undecodable(1.0).await;
    full_cycle(&world, "good").await;

    create(&world, "text", Reply::token(), &json!({"renewBefore": "tomorrow"})).await;
    undecodable(2.0).await;
    world.patch("good", json!({"spec": {"target": {"creationPolicy": "Sometimes"}}})).await;
    undecodable(3.0).await;
    full_cycle(&world, "other").await;
    for name in ["shape", "text", "good"] {
        let line = operator.log_lines().into_iter().find(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            line["level"] == "ERROR" && line["name"] == name && line["namespace"] == world.namespace
        });
        assert!(line.is_some(), "no line about {name}: {}", operator.log());
    }
    assert_eq!(world.squadcast.count("rt-text"), 0);
    assert!(world.secret("good-target").await.is_some());
    assert!(world.get("text").await.unwrap().get("status").is_none());

    // Corrected, they are resources like any other.
    world.patch("text", json!({"spec": {"renewBefore": "1h"}})).await;
    world.wait_ready("text").await;
    world.patch("good", json!({"spec": {"target": {"creationPolicy": "Owner"}}})).await;
    undecodable(1.0).await;
    world.delete("shape").await;
    undecodable(0.0).await;
    full_cycle(&world, "last").await;
    assert_eq!(world.squadcast.count("rt-good"), 1);
}
