//! Several releases: in one cluster and in one namespace each keeps what is its own.

use serde_json::json;

use crate::release::{Release, knows, with};
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
