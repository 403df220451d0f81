//! From an earlier version of the chart to this one and back: the definition follows, and tokens stay.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::lifecycle::{definition, empty_cluster};
use crate::release::{Release, chart, knows};
use crate::support::DEADLINE;
use crate::support::controlplane::repository;
use crate::support::world::World;

/// Where the definition describes the fields of `spec`.
const FIELDS: &str = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";

fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let text = std::fs::read_to_string(path).unwrap();
    let mut value: Value = serde_saphyr::from_str(&text).unwrap();
    change(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
}

/// This chart as it would have been before `spec.suspend` and the log's format could be chosen.
fn before(folder: &Path) -> PathBuf {
    let copy = folder.join("before");
    assert!(Command::new("cp").arg("-R").arg(chart()).arg(&copy).status().unwrap().success());
    edit(&copy.join("Chart.yaml"), |chart| {
        chart["version"] = "0.0.1".into();
        chart["appVersion"] = "0.0.1".into();
    });
    edit(&copy.join("files/squadcastcredentials.yaml"), |definition| {
        let fields = definition.pointer_mut(FIELDS).unwrap().as_object_mut().unwrap();
        assert!(fields.remove("suspend").is_some());
    });
    edit(&copy.join("values.schema.json"), |schema| {
        assert!(schema["properties"].as_object_mut().unwrap().remove("logFormat").is_some());
        schema["required"].as_array_mut().unwrap().retain(|name| name != "logFormat");
    });
    edit(&copy.join("values.yaml"), |values| {
        values.as_object_mut().unwrap().remove("logFormat");
    });
    let deployment = copy.join("templates/deployment.yaml");
    let text = std::fs::read_to_string(&deployment).unwrap();
    let format = "            - --log-format={{ .Values.logFormat }}\n";
    assert!(text.contains(format));
    std::fs::write(deployment, text.replace(format, "")).unwrap();
    copy
}

/// The chart of the last release before this version, where the repository knows of one.
fn released(folder: &Path) -> Option<PathBuf> {
    let git = |args: &[&str]| Command::new("git").arg("-C").arg(repository()).args(args).output();
    let tags =
        String::from_utf8(git(&["tag", "--list", "v*", "--sort=-version:refname"]).ok()?.stdout).ok()?;
    let ours = format!("v{}", env!("CARGO_PKG_VERSION"));
    let tag = tags.lines().find(|tag| *tag != ours)?;
    let tar = folder.join("released.tar");
    let into = tar.to_str()?;
    let packed = git(&["archive", "-o", into, tag, "charts/squadcast-operator"]).unwrap();
    assert!(packed.status.success(), "{tag}: {}", String::from_utf8_lossy(&packed.stderr));
    assert!(Command::new("tar").arg("-xf").arg(&tar).arg("-C").arg(folder).status().unwrap().success());
    println!("the chart of {tag} is upgraded");
    Some(folder.join("charts/squadcast-operator"))
}

async fn upgraded_and_rolled_back(earlier: &Path) {
    let plane = empty_cluster();
    let world = World::bare(&plane, "team").await;
    let release = Release::new(&plane, "token", "token-system");
    let values = knows(&release, &world.squadcast);
    let install = ["install", &release.name, earlier.to_str().unwrap(), "-f", "-"];
    release.helm(&install, &values).unwrap();
    let schema = async || serde_json::to_value(definition(&plane).await.unwrap().spec.versions).unwrap();
    let old = schema().await;
    let operator = release.operator().await;
    world.refresh_token("one-source", "rt-one").await;
    world.credential("one", "one-source", "one-target").await;
    world.wait_ready("one").await;
    let token = world.secret_data("one-target").await;
    operator.sigterm();
    assert_eq!(operator.wait_exit(DEADLINE).await, 0);

    // As the documentation has it: what was set stays, what is new gets its default.
    let now = chart();
    let upgrade = ["upgrade", &release.name, now.to_str().unwrap(), "--reset-then-reuse-values"];
    release.helm(&upgrade, &Value::Null).unwrap();
    let fields = schema().await.pointer("/0/schema/openAPIV3Schema/properties/spec/properties").cloned();
    assert!(fields.unwrap()["suspend"].is_object(), "the definition is upgraded with the chart");
    let operator = release.operator().await;
    operator.wait_for_log("leading").await;
    let suspended = world.patch("one", json!({ "spec": { "suspend": true } })).await;
    assert_eq!(suspended["spec"]["suspend"], true);
    world.wait_for("one", "Synced", "False", "Suspended").await;
    world.patch("one", json!({ "spec": { "suspend": false } })).await;
    world.wait_for("one", "Synced", "True", "Synced").await;
    world.wait_ready("one").await;
    operator.sigterm();
    assert_eq!(operator.wait_exit(DEADLINE).await, 0);

    release.rollback();
    assert_eq!(schema().await, old, "the definition goes back with the chart");
    let operator = release.operator().await;
    operator.wait_for_log("leading").await;
    world.wait_ready("one").await;
    assert_eq!(world.secret_data("one-target").await, token);
    assert_eq!(world.squadcast.count("rt-one"), 1, "neither way costs an exchange");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_chart_is_upgraded_with_its_definition_and_rolled_back() {
    let folder = tempfile::tempdir().unwrap();
    upgraded_and_rolled_back(&before(folder.path())).await;
    // From the first release on, that as well.
    if let Some(earlier) = released(folder.path()) {
        upgraded_and_rolled_back(&earlier).await;
    }
}
