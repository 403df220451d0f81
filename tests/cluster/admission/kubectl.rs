//! What kubectl shows of resources and tells of their fields.

use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::{
    definition::{definition, fields, schema},
    spec, with,
};
use crate::support::world::World;

#[tokio::test]
async fn kubectl_warns_of_or_refuses_a_field_that_is_unknown() {
    let world = World::new("unknown").await;
    let yaml = "apiVersion: credentials.squadcast.com/v1alpha1\nkind: SquadcastCredential\nmetadata: {name: x}\n\
                spec:\n  regoin: eu\n  refreshTokenSecretRef: {name: source}\n  target: {name: target}\n";
    let apply = |validate: &str| {
        let args = ["--namespace", &world.namespace, "apply", validate, "-f", "-"];
        let output = world.plane.kubectl_with(&args, yaml);
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (applied, said) = apply("--validate=strict");
    assert!(!applied && said.contains(r#"unknown field "spec.regoin""#), "{said}");
    let (applied, said) = apply("--validate=warn");
    assert!(applied && said.contains(r#"Warning: unknown field "spec.regoin""#), "{said}");
    let stored = world.get("x").await.unwrap();
    assert!(stored["spec"].get("regoin").is_none(), "{stored}");
}

#[tokio::test]
async fn kubectl_shows_what_matters_in_columns() {
    let world = World::new("columns").await;
    world.apply("x", with("region", "eu".into())).await;
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": "2026-01-02T03:04:05Z", "observedGeneration": 1,
        })
    };
    let status = json!({"status": {
        "conditions": [
            condition("Ready", "True", "TokenValid", "all is well"),
            condition("Synced", "False", "ServiceUnavailable", "not now"),
        ],
        "expiresAt": "2999-01-02T03:04:05Z",
        "renewAt": "2998-01-02T03:04:05Z",
    }});
    let patched = world.credentials().patch_status("x", &PatchParams::default(), &Patch::Merge(status)).await;
    patched.unwrap();

    let table = |args: &[&str]| -> Vec<Vec<String>> {
        let text = world.kubectl(&[&["get"], args].concat());
        let cells = |line: &str| {
            line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
        };
        text.lines().map(cells).collect()
    };
    let columns = ["NAME", "READY", "REASON", "SYNCED", "REGION", "SECRET", "EXPIRES", "RENEWS", "AGE"];
    let row = [
        "x",
        "True",
        "TokenValid",
        "ServiceUnavailable",
        "eu",
        "target",
        "2999-01-02T03:04:05Z",
        "2998-01-02T03:04:05Z",
    ];
    for name in ["sqc", "squadcastcredentials", "squadcastcredential", "squadcast"] {
        let shown = table(&[name]);
        assert_eq!(shown[0], columns, "kubectl get {name}");
        assert_eq!(shown[1][..8], row, "kubectl get {name}");
    }
    let wide = table(&["sqc", "-o", "wide"]);
    assert_eq!(wide[0][..9], columns);
    assert_eq!(wide[0][9], "MESSAGE");
    assert_eq!(wide[1][9], "all is well");
}

#[tokio::test]
async fn resources_are_selected_by_region_target_and_source() {
    let world = World::new("select").await;
    world.apply("plain", spec()).await;
    world.apply("region", with("region", "eu".into())).await;
    world.apply("target", with("target.name", "mine".into())).await;
    world.apply("source", with("refreshTokenSecretRef.name", "other".into())).await;
    for (selector, names) in [
        ("spec.region=eu", vec!["region"]),
        ("spec.region=us", vec!["plain", "source", "target"]),
        ("spec.target.name=mine", vec!["target"]),
        ("spec.refreshTokenSecretRef.name=other", vec!["source"]),
        ("spec.region=us,spec.target.name!=mine,spec.refreshTokenSecretRef.name=source", vec!["plain"]),
        ("spec.region=none", vec![]),
    ] {
        let found = world.kubectl(&["get", "sqc", "-o", "name", "--field-selector", selector]);
        let found: Vec<_> = found.lines().filter_map(|line| line.split('/').nth(1)).collect();
        assert_eq!(found, names, "{selector}");
    }
}

#[tokio::test]
async fn kubectl_explains_every_field() {
    let world = World::new("explain").await;
    let schema = schema(&definition().await);
    assert!(schema.description.clone().is_some_and(|text| text.contains("Squadcast access token")));
    for root in ["spec", "status"] {
        let tree = world.kubectl(&["explain", &format!("squadcastcredential.{root}"), "--recursive"]);
        let fields = fields(root, &schema.properties.as_ref().unwrap()[root]);
        assert!(fields.len() > 10);
        for (path, field) in fields {
            let said = field.description.unwrap_or_default();
            assert!(said.len() > 10 && said.ends_with('.') && !said.contains('\n'), "{path}: {said:?}");
            for note in ["TODO", "FIXME", "XXX", "::", "`", "serde", "schemars", "kube-rs", "Rust", "Option<"]
            {
                assert!(!said.contains(note), "{path}: {said}");
            }
            let name = path.rsplit('.').next().unwrap();
            assert!(
                path == root || tree.lines().any(|line| line.trim().starts_with(name)),
                "{path}:\n{tree}"
            );
        }
    }
    let explained = world.kubectl(&["explain", "sqc.spec.refreshTokenRotation"]);
    let explained = explained.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(explained.contains("Do not use WriteBack where Git"), "{explained}");
    assert!(explained.contains("ENUM") && explained.contains("Ignore"), "{explained}");
}
