//! Several releases: in one cluster and in one namespace each keeps what is its own.

use std::process::Command;

use serde_json::json;

use crate::lifecycle::{definition, empty_cluster};
use crate::release::{Release, chart, knows, with};
use crate::support::controlplane::repository;
use crate::support::world::{REGION, World};
use crate::support::{ControlPlane, DEADLINE, eventually};

/// A resource of this team, and nothing but its own refresh token.
async fn resource(world: &World, team: &str, name: &str) {
    let (source, token) = (format!("{name}-source"), format!("rt-{name}"));
    world.refresh_token(&source, &token).await;
    let resource = json!({
        "metadata": { "labels": { "team": team } },
        "spec": {
            "region": REGION,
            "refreshTokenSecretRef": { "name": source },
            "target": { "name": format!("{name}-target") },
        },
    });
    world.try_apply(name, resource).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_releases_in_one_namespace_keep_their_own_resources() {
    let plane = ControlPlane::shared();
    let world = World::new("neighbours").await;
    let system = format!("{}-system", world.namespace);
    let releases = ["red", "blue"].map(|name| Release::new(plane, name, &system));
    for release in &releases {
        let own = json!({ "crds": { "install": false }, "selector": format!("team={}", release.name) });
        release.install(&with(knows(release, &world.squadcast), own));
    }
    let operators = [releases[0].operator().await, releases[1].operator().await];
    for operator in &operators {
        operator.wait_for_log("leading").await;
    }
    for name in ["red", "blue"] {
        resource(&world, name, name).await;
        world.wait_ready(name).await;
    }
    for (operator, other) in operators.iter().zip(["blue", "red"]) {
        assert!(!operator.log().contains(&format!("{other}-target")), "{}", operator.log());
        let touched = plane.requests_by(operator.user());
        assert!(touched.iter().all(|request| !request.name.starts_with(other)), "{touched:?}");
    }
    // One goes; the other, and what both kept, stays.
    releases[0].uninstall();
    operators[0].sigterm();
    assert_eq!(operators[0].wait_exit(DEADLINE).await, 0);
    resource(&world, "blue", "blue-more").await;
    world.wait_ready("blue-more").await;
    world.wait_ready("red").await;
    let refused: Vec<_> =
        plane.requests_by(operators[1].user()).into_iter().filter(|r| r.code == Some(403)).collect();
    assert!(refused.is_empty(), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_releases_of_one_name_keep_one_namespace_each() {
    let plane = ControlPlane::shared();
    let worlds = [World::new("same-one").await, World::new("same-two").await];
    let mut operators = Vec::new();
    for world in &worlds {
        let release = Release::new(plane, "same", &format!("{}-system", world.namespace));
        // A third one, with rights in both namespaces, shows that roles of several releases live side by side.
        let spaces = [&worlds[0].namespace, &world.namespace];
        let own = json!({ "crds": { "install": false }, "namespaces": spaces, "selector": format!("team={}", world.namespace) });
        release.install(&with(knows(&release, &world.squadcast), own));
        operators.push(release.operator().await);
    }
    for world in &worlds {
        resource(world, &world.namespace, "one").await;
        world.wait_ready("one").await;
        assert_eq!(world.squadcast.count("rt-one"), 1);
    }
    let led = async || operators.iter().all(|operator| operator.log().contains("leading"));
    eventually("both to lead", DEADLINE, led).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_owner_of_the_definition_is_told_so() {
    let plane = ControlPlane::shared();
    let release = Release::new(plane, "second", "second-system");
    // The tests applied the definition themselves.
    let said = release.try_install(&json!({})).expect_err("two owners");
    assert!(said.contains("squadcastcredentials.credentials.squadcast.com"), "{said}");
    assert!(said.contains("cannot be imported into the current release"), "{said}");
    // Two that make the same names in one namespace.
    let own = json!({ "crds": { "install": false } });
    Release::new(plane, "same-names", "second-system").install(&own);
    let said = Release::new(plane, "same-names-squadcast-operator", "second-system").try_install(&own);
    let said = said.expect_err("two releases of one name");
    assert!(said.contains("cannot be imported into the current release"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_definition_changes_hands_where_one_asks_for_it() {
    let plane = empty_cluster();
    let manifest = repository().join("deploy/install.yaml");
    let applied = plane.kubectl(&["apply", "--server-side", "-f", manifest.to_str().unwrap()]);
    assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    let chart = chart();
    // From kubectl to a release, and from a release that was to another one elsewhere. kubectl stays a manager of what it
    // applied; helm is one for all releases.
    for (name, more) in [("token", &["--force-conflicts"][..]), ("other", &[])] {
        let release = Release::new(&plane, name, &format!("{name}-system"));
        let said = release.try_install(&json!({})).expect_err("the definition is another's");
        assert!(said.contains("cannot be imported into the current release"), "{said}");
        let install = ["install", name, chart.to_str().unwrap(), "--create-namespace", "--take-ownership"];
        let done = release.helm(&[&install, more].concat(), &json!({}));
        done.unwrap_or_else(|error| panic!("{name}: {error}"));
        let annotations = definition(&plane).await.unwrap().metadata.annotations.unwrap();
        assert_eq!(annotations["meta.helm.sh/release-name"], name);
        // Another definition, as a later version of the chart brings it.
        let folder = tempfile::tempdir().unwrap();
        let later = folder.path().join("later");
        assert!(Command::new("cp").arg("-R").arg(&chart).arg(&later).status().unwrap().success());
        let file = later.join("files/squadcastcredentials.yaml");
        let text = std::fs::read_to_string(&file).unwrap();
        let described = "Whether the Secret holds an unexpired token";
        assert!(text.contains(described));
        std::fs::write(&file, text.replace(described, &format!("{name} describes it"))).unwrap();
        let upgrade = ["upgrade", name, later.to_str().unwrap()];
        let done = release.helm(&[&upgrade, more].concat(), &json!({}));
        done.unwrap_or_else(|error| panic!("{name}: {error}"));
        let now = serde_json::to_string(&definition(&plane).await.unwrap().spec).unwrap();
        assert!(now.contains(&format!("{name} describes it")), "{now}");
        release.uninstall();
        assert_eq!(definition(&plane).await.unwrap().metadata.deletion_timestamp, None);
    }
}
