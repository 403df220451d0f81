//! The spec but for its target: what must be said, what is filled in, and what each field takes.

use serde_json::{Value, json};

use super::{SECRET_NAMES, accepts, create, refuses, rule, spec, texts, with};
use crate::support::world::World;

#[tokio::test]
async fn the_shortest_spec_gets_its_defaults() {
    let world = World::new("defaults").await;
    let stored = accepts(&world, &spec()).await;
    let full = json!({
        "region": "us",
        "refreshTokenSecretRef": {"name": "source", "key": "refresh_token"},
        "refreshTokenRotation": "Ignore",
        "target": {"name": "target", "creationPolicy": "Owner"},
        "suspend": false,
    });
    assert_eq!(stored["spec"], full);
    assert_eq!(stored["status"], json!({"observedGeneration": -1}));

    // A null is as good as nothing: tools that render YAML leave them behind.
    let mut nulls = spec();
    for field in ["region", "refreshTokenRotation", "suspend", "renewBefore", "rolloutRestartTargets"] {
        nulls[field] = Value::Null;
    }
    nulls["target"]["creationPolicy"] = Value::Null;
    nulls["target"]["template"] = Value::Null;
    assert_eq!(accepts(&world, &nulls).await["spec"], full);
}

#[tokio::test]
async fn what_is_required_must_be_there() {
    let world = World::new("required").await;
    for field in ["refreshTokenSecretRef", "refreshTokenSecretRef.name", "target", "target.name"] {
        let parts = [&format!("spec.{field}"), "Required value"];
        refuses(&world, &with(field, Value::Null), &parts.map(|part| part as &str)).await;
    }
    let without_spec = world.try_apply("x", json!({})).await;
    assert!(without_spec.unwrap_err().to_string().contains("spec: Required value"));
}

#[tokio::test]
async fn a_resources_name_has_at_most_63_characters() {
    let world = World::new("name").await;
    create(&world, &"n".repeat(63), &spec()).await.unwrap();
    let refused = create(&world, &"n".repeat(64), &spec()).await.unwrap_err().to_string();
    assert!(refused.contains("use at most 63 characters"), "{refused}");
}

#[tokio::test]
async fn a_region_is_a_short_lower_case_name() {
    let longest = "r".repeat(32);
    rule(
        "region",
        "region",
        texts(["us", "eu", "a", "7", "us-2", &longest]),
        texts(["", "US", "-us", "us-", "u_s", "us.east", "https://x"]),
        &["spec.region", "region must be the name of a region, such as us or eu"],
    )
    .await;
    rule("region", "region", [], texts([&*"r".repeat(33)]), &["spec.region", "32"]).await;
}

#[tokio::test]
async fn the_source_is_a_secrets_name() {
    let (good, bad) = SECRET_NAMES;
    let parts = ["spec.refreshTokenSecretRef.name", "must be the name of a Secret: lower-case letters"];
    rule("source", "refreshTokenSecretRef.name", texts(good), texts(bad), &parts).await;
    let longest = texts([&*"s".repeat(253)]);
    let longer = texts([&*"s".repeat(254)]);
    rule(
        "source",
        "refreshTokenSecretRef.name",
        longest,
        longer,
        &["spec.refreshTokenSecretRef.name", "253"],
    )
    .await;
    rule("source", "refreshTokenSecretRef.name", [], texts([""]), &["spec.refreshTokenSecretRef.name", "1"])
        .await;
}

#[tokio::test]
async fn the_sources_key_is_a_key_of_a_secret() {
    let longest = "k".repeat(253);
    rule(
        "key",
        "refreshTokenSecretRef.key",
        texts(["refresh_token", "T", ".token", "a.b-c_D9", &longest]),
        texts(["a b", "a/b", ".", "..", "..a", "k\u{e4}y", "a\n"]),
        &["spec.refreshTokenSecretRef.key", "must be a key of a Secret: letters, digits"],
    )
    .await;
    let longer = texts([&*"k".repeat(254)]);
    rule("key", "refreshTokenSecretRef.key", [], longer, &["spec.refreshTokenSecretRef.key", "253"]).await;
}

#[tokio::test]
async fn rotation_is_ignored_or_written_back() {
    rule(
        "rotation",
        "refreshTokenRotation",
        texts(["Ignore", "WriteBack"]),
        texts(["ignore", "Writeback", ""]),
        &["spec.refreshTokenRotation", "supported values: \"Ignore\", \"WriteBack\""],
    )
    .await;
}

#[tokio::test]
async fn renew_before_is_a_duration_from_a_second_to_ten_years() {
    rule(
        "before",
        "renewBefore",
        texts(["12h", "1h30m", "90s", "1s", "1h0m1s", "60m", "87600h", "5256000m", "315360000s"]),
        texts([
            "",
            "0s",
            "0h0m0s",
            "12",
            "h",
            "1d",
            "1.5h",
            "30m1h",
            "-1h",
            "+1h",
            " 1h",
            "1h ",
            "12H",
            "1h1h",
            "1ms",
            "P1D",
            "87600h1s",
            "87601h",
            "315360001s",
            "99999999999999999999h",
        ]),
        &["spec.renewBefore", "must be hours, minutes and seconds in this order, as in 12h, 1h30m or 90s"],
    )
    .await;
    rule("before", "renewBefore", [], [json!(12)], &["spec.renewBefore", "must be of type string"]).await;
}

#[tokio::test]
async fn renew_before_percentage_is_1_to_99() {
    let field = "renewBeforePercentage";
    rule("share", field, [json!(1), json!(25), json!(99)], [json!(0), json!(-1)], &[field, "equal to 1"])
        .await;
    rule("share", field, [], [json!(100)], &[field, "less than or equal to 99"]).await;
    rule("share", field, [], [json!("10"), json!(12.5)], &[field, "must be of type integer"]).await;
}

#[tokio::test]
async fn the_two_ways_to_renew_exclude_each_other() {
    let world = World::new("both").await;
    let mut both = with("renewBefore", "12h".into());
    both["renewBeforePercentage"] = 25.into();
    let parts = ["renewBefore and renewBeforePercentage exclude each other", "remove one of them"];
    refuses(&world, &both, &parts).await;
}

#[tokio::test]
async fn restart_targets_are_up_to_16_different_workloads() {
    let field = "rolloutRestartTargets";
    let kinds = ["Deployment", "StatefulSet", "DaemonSet"];
    let list = |count: usize| -> Value {
        (0..count).map(|n| json!({"kind": kinds[n % 3], "name": format!("w{n}")})).collect()
    };
    let single = |kind: &str, name: &str| json!([{"kind": kind, "name": name}]);
    rule("restart", field, [list(1), list(16)], [list(17)], &["spec.rolloutRestartTargets", "16"]).await;
    let twice = json!([{"kind": "Deployment", "name": "a"}, {"kind": "Deployment", "name": "a"}]);
    rule("restart", field, [], [twice], &["spec.rolloutRestartTargets[1]", "Duplicate value"]).await;
    let supported = ["spec.rolloutRestartTargets[0].kind", "\"Deployment\", \"StatefulSet\""];
    rule("restart", field, [], [single("Job", "a"), single("deployment", "a")], &supported).await;
    let (good, bad) = SECRET_NAMES;
    let parts = ["spec.rolloutRestartTargets[0].name", "must be the name of a workload"];
    let named = |names: &[&str]| names.iter().map(|name| single("Deployment", name)).collect::<Vec<_>>();
    rule("restart", field, named(&good), named(&bad), &parts).await;
    rule("restart", field, [], [json!([{"kind": "Deployment"}])], &["[0].name", "Required value"]).await;
    rule("restart", field, [], [json!([{"name": "a"}])], &["[0].kind", "Required value"]).await;
}

#[tokio::test]
async fn suspend_is_true_or_false() {
    let parts = ["spec.suspend", "must be of type boolean"];
    rule("suspend", "suspend", [json!(true), json!(false)], [json!("yes")], &parts).await;
}

/// All limits at once cost less than the API server grants to a request's rules.
#[tokio::test]
async fn the_largest_spec_that_the_rules_allow_is_accepted() {
    let world = World::new("largest").await;
    let keys = |count: usize, value: &str| -> Value {
        let key = |n| format!("{}/{n:a>63}", "p".repeat(253));
        (0..count).map(|n| (key(n), Value::from(value))).collect::<serde_json::Map<_, _>>().into()
    };
    let templates: serde_json::Map<_, _> =
        (0..64).map(|n| (format!("{n:k>253}"), Value::from("x".repeat(8192)))).collect();
    let restarts: Vec<_> =
        (0..16).map(|n| json!({"kind": "StatefulSet", "name": format!("{n:w>253}")})).collect();
    let annotations = keys(32, &"v".repeat(4096));
    let largest = json!({
        "region": "r".repeat(32),
        "refreshTokenSecretRef": {"name": "s".repeat(253), "key": "k".repeat(253)},
        "target": {
            "name": "t".repeat(253),
            "labels": keys(32, &"v".repeat(63)),
            "annotations": annotations,
            "template": templates,
        },
        "renewBefore": "87599h59m60s",
        "rolloutRestartTargets": restarts,
    });
    create(&world, &"n".repeat(63), &largest).await.unwrap();
    // And Kubernetes takes as many annotations, with room for the operator's own.
    let mut annotations = annotations;
    annotations["own"] = "v".repeat(64 * 1024).into();
    world.apply_secret("target", json!({ "metadata": { "annotations": annotations } })).await;
}
