//! The definition itself: as it is printed, as the API server takes it, and which fields it has.

use std::{collections::BTreeMap, process::Command};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::Api;

use crate::{
    OPERATOR,
    support::{ControlPlane, controlplane::definition_file},
};

pub async fn definition() -> CustomResourceDefinition {
    let api: Api<CustomResourceDefinition> = Api::all(ControlPlane::shared().client());
    api.get("squadcastcredentials.credentials.squadcast.com").await.unwrap()
}

pub fn schema(definition: &CustomResourceDefinition) -> JSONSchemaProps {
    let schema = definition.spec.versions[0].schema.clone().unwrap();
    schema.open_api_v3_schema.unwrap()
}

/// Every field below a schema, with its path.
pub fn fields(path: &str, schema: &JSONSchemaProps) -> Vec<(String, JSONSchemaProps)> {
    let mut found = vec![(path.to_owned(), schema.clone())];
    for (name, child) in schema.properties.iter().flatten() {
        found.extend(fields(&format!("{path}.{name}"), child));
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
        let below = fields(path, items);
        found.extend(below.into_iter().skip(1));
    }
    found
}

#[tokio::test]
async fn the_definition_is_accepted_without_objections() {
    let definition = definition().await;
    let conditions: BTreeMap<_, _> = definition
        .status
        .and_then(|status| status.conditions)
        .unwrap()
        .into_iter()
        .map(|condition| (condition.type_, condition.status))
        .collect();
    assert_eq!(conditions["Established"], "True");
    assert_eq!(conditions["NamesAccepted"], "True");
    assert!(!conditions.contains_key("NonStructuralSchema"), "{conditions:?}");
}

#[tokio::test]
async fn the_printed_definition_is_the_file_byte_for_byte() {
    let output = Command::new(OPERATOR).arg("crd").output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let file = std::fs::read(definition_file()).unwrap();
    assert!(
        output.stdout == file,
        "crds/squadcastcredentials.yaml is not what squadcast-operator crd prints"
    );
}

#[tokio::test]
async fn no_field_names_a_namespace_or_holds_a_url() {
    let schema = schema(&definition().await);
    let fields = fields("spec", &schema.properties.unwrap()["spec"]);
    for (path, _) in fields {
        let last = path.rsplit('.').next().unwrap().to_lowercase();
        assert!(!last.contains("namespace") && !last.contains("url"), "{path}");
    }
}
