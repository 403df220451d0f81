//! What the chart passes on to Pods as it is: its schema lets through the fields that Kubernetes has and no others.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Map, Value, json};

use crate::release::file;
use crate::support::ControlPlane;
use crate::values::{container, refuses};

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

#[test]
fn a_quantity_is_refused_that_the_api_server_would_refuse() {
    for wrong in ["128MB", "1 Gi", "lots", ""] {
        refuses(&json!({ "resources": { "limits": { "memory": wrong } } }), &["/resources/limits/memory"]);
    }
    for right in [json!("128Mi"), json!("0.5"), json!("1e9"), json!("100m"), json!(4)] {
        let resources = json!({ "limits": { "memory": right } });
        assert_eq!(container(&json!({ "resources": resources }))["resources"]["limits"]["memory"], right);
    }
}

#[tokio::test]
async fn a_selector_is_refused_that_the_api_server_would_refuse() {
    let maps: Api<ConfigMap> = Api::namespaced(ControlPlane::shared().client(), "default");
    let list = async |selector: &str| maps.list(&ListParams::default().labels(selector)).await;
    let long = "x".repeat(64);
    for wrong in [
        "a=b,",
        ",a",
        "a b",
        "a in b",
        "a in (b",
        "a in (b) c",
        "a notin (b,c d)",
        "a=b,c==d==e",
        "=b",
        "!",
        "a!",
        "!a=b",
        "-a",
        "a/b/c",
        "A.b/c=d",
        "a=-b",
        "a=b.",
        "a: b",
        "ä=b",
        "a>b",
        "a>",
        "a<-5",
        &long,
        &format!("a={long}"),
    ] {
        let said = list(wrong).await.expect_err(wrong);
        assert!(matches!(&said, kube::Error::Api(status) if status.code == 400), "{wrong}: {said}");
        let named = format!("selector: {wrong:?} is no label selector");
        refuses(&json!({ "selector": wrong }), &[&named, "region in (us,eu)"]);
    }
    for right in [
        "a",
        "!a",
        "! a",
        "a=b",
        "a==b",
        " a != b ",
        "a=",
        "a=,b",
        "a>5",
        "a < 5,b",
        "a in(b)",
        "a in (,b)",
        "a notin ()",
        "in=in",
        "example.com/team=A_b.c",
        "a in (b, c),d notin (x),!e , f=g",
        &format!("{0}={0}", &long[1..]),
    ] {
        list(right).await.unwrap_or_else(|error| panic!("{right}: {error}"));
        let args = container(&json!({ "selector": right }))["args"].clone();
        assert!(args.as_array().unwrap().contains(&json!(format!("--selector={right}"))), "{right}: {args}");
    }
}
