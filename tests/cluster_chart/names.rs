//! Names that helm lets a release have, on a real API server, which is stricter with some of them.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Api;
use kube::api::ListParams;
use serde_json::json;

use crate::release::Release;
use crate::support::ControlPlane;

/// Values with names that YAML would read as something else than words.
const NUMBER: &str = "1234";

#[tokio::test(flavor = "multi_thread")]
async fn a_release_of_any_name_that_helm_allows_is_installed() {
    let plane = ControlPlane::shared();
    let longest = "x".repeat(53);
    for (name, full) in [
        (longest.as_str(), format!("{longest}-s")),
        ("1x", "r-1x-squadcast-operator".to_owned()),
        ("a.b", "a-b-squadcast-operator".to_owned()),
        (NUMBER, "r-1234-squadcast-operator".to_owned()),
        ("1e3", "r-1e3-squadcast-operator".to_owned()),
    ] {
        // Namespaces of digits alone, of which one is kept as well.
        let namespace = format!("{}{}", 5600 + name.len(), name.len());
        let release = Release::new(plane, name, &namespace);
        let everything = json!({
            "crds": { "install": false },
            "namespaces": [namespace],
            "caBundle": { "configMap": NUMBER },
            "priorityClassName": NUMBER,
            "serviceAccount": { "name": NUMBER },
            "networkPolicy": { "enabled": true },
            "metrics": { "dashboard": { "enabled": true } },
        });
        let notes = release.install(&everything);
        assert!(notes.contains(&format!("deployment/{full}")), "{notes}");
        let services: Api<Service> = Api::namespaced(plane.client(), &namespace);
        let service = services.get(&format!("{full}-metrics")).await.unwrap();
        assert_eq!(service.spec.unwrap().selector.unwrap()["app.kubernetes.io/instance"], name);
        let bindings: Api<RoleBinding> = Api::namespaced(plane.client(), &namespace);
        let bound = bindings.list(&ListParams::default()).await.unwrap().items;
        assert_eq!(bound.len(), 2, "the Role for resources and that for the Lease");
        for binding in bound {
            assert_eq!(binding.subjects.unwrap()[0].name, NUMBER);
        }
        let said = release.uninstall();
        assert!(said.contains("uninstalled"), "{said}");
    }
}
