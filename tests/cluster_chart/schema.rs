//! What the chart passes on to Pods as it is: its schema lets through the fields that Kubernetes has and no others.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::release::file;
use crate::support::ControlPlane;

/// Where the chart's schema lists fields, and the type of the API that has them.
const PASSED_ON: [(&str, &str); 10] = [
    ("/properties/affinity", "Affinity"),
    ("/properties/dnsConfig", "PodDNSConfig"),
    ("/properties/dnsConfig/properties/options/items", "PodDNSConfigOption"),
    ("/properties/extraEnv/items", "EnvVar"),
    ("/properties/imagePullSecrets/items", "LocalObjectReference"),
    ("/properties/podSecurityContext", "PodSecurityContext"),
    ("/properties/resources", "ResourceRequirements"),
    ("/properties/securityContext", "SecurityContext"),
    ("/properties/tolerations/items", "Toleration"),
    ("/properties/topologySpreadConstraints/items", "TopologySpreadConstraint"),
];

fn fields(object: &Value) -> BTreeSet<&str> {
    object["properties"].as_object().into_iter().flat_map(Map::keys).map(String::as_str).collect()
}

#[test]
fn the_values_schema_knows_the_fields_that_the_api_server_knows() {
    let described = ControlPlane::shared().kubectl(&["get", "--raw", "/openapi/v3/api/v1"]);
    let described: Value = serde_json::from_slice(&described.stdout).unwrap();
    let schema: Value = serde_json::from_str(&file("charts/squadcast-operator/values.schema.json")).unwrap();
    for (place, name) in PASSED_ON {
        let part = schema.pointer(place).unwrap();
        assert_eq!(part["additionalProperties"], false, "{place}");
        let known = &described["components"]["schemas"][format!("io.k8s.api.core.v1.{name}")];
        assert!(!fields(known).is_empty(), "{name}");
        assert_eq!(fields(part), fields(known), "{place}");
    }
}
