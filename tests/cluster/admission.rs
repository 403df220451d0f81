//! What the API server takes and refuses, what it fills in, and how kubectl shows it: the definition alone,
//! without an operator.

use std::collections::BTreeMap;
use std::process::Command;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::OPERATOR;
use crate::support::ControlPlane;
use crate::support::controlplane::definition_file;
use crate::support::world::World;

/// What a Secret may be called, and what not.
const SECRET_NAMES: ([&str; 4], [&str; 8]) =
    (["a", "0", "team-a.squadcast", "a.b.c-d"], ["Source", "a_b", "-a", "a-", ".a", "a..b", "a/b", "\u{e4}"]);

/// A spec that says only what must be said.
fn spec() -> Value {
    json!({"refreshTokenSecretRef": {"name": "source"}, "target": {"name": "target"}})
}

/// That spec with one more field; `null` takes a field away.
fn with(pointer: &str, value: Value) -> Value {
    let mut patch = value;
    for part in pointer.split('.').rev() {
        patch = json!({ part: patch });
    }
    let mut spec = spec();
    merge(&mut spec, patch);
    spec
}

fn merge(into: &mut Value, patch: Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    into.remove(&key);
                } else {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (into, patch) => *into = patch,
    }
}

async fn create(world: &World, name: &str, spec: &Value) -> kube::Result<Value> {
    let object = serde_json::from_value(json!({
        "apiVersion": "credentials.squadcast.com/v1alpha1",
        "kind": "SquadcastCredential",
        "metadata": {"name": name},
        "spec": spec,
    }));
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let created = world.credentials().create(&params, &object.unwrap()).await?;
    Ok(serde_json::to_value(&created).unwrap())
}

/// Answers with the object as the API server would store it.
async fn accepts(world: &World, spec: &Value) -> Value {
    create(world, "x", spec).await.unwrap_or_else(|error| panic!("{spec}: {error}"))
}

/// Each of the parts is in the API server's answer.
async fn refuses(world: &World, spec: &Value, parts: &[&str]) {
    match create(world, "x", spec).await {
        Err(kube::Error::Api(status)) if status.code == 422 => {
            for part in parts {
                assert!(status.message.contains(part), "{spec}: no {part:?} in: {}", status.message);
            }
        }
        other => panic!("{spec}: {other:?}"),
    }
}

/// All the good values of a field are taken, all the bad ones refused with these parts of a message.
async fn rule(
    name: &str,
    pointer: &str,
    good: impl IntoIterator<Item = Value>,
    bad: impl IntoIterator<Item = Value>,
    parts: &[&str],
) {
    let world = World::new(name).await;
    for value in good {
        let stored = accepts(&world, &with(pointer, value.clone())).await;
        let path = format!("/spec/{}", pointer.replace('.', "/"));
        assert_eq!(stored.pointer(&path), Some(&value));
    }
    for value in bad {
        refuses(&world, &with(pointer, value), parts).await;
    }
}

fn texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<Value> {
    texts.into_iter().map(Value::from).collect()
}

/// So many entries with keys `k0`, `k1` and so on.
fn entries(count: usize, value: &str) -> Value {
    (0..count).map(|n| (format!("k{n}"), Value::from(value))).collect::<serde_json::Map<_, _>>().into()
}

fn one(key: &str, value: &str) -> Value {
    json!({ key: value })
}

async fn definition() -> CustomResourceDefinition {
    let api: Api<CustomResourceDefinition> = Api::all(ControlPlane::shared().client());
    api.get("squadcastcredentials.credentials.squadcast.com").await.unwrap()
}

fn kubectl(world: &World, args: &[&str]) -> String {
    let output = world.plane.kubectl(&[&["--namespace", &world.namespace], args].concat());
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "kubectl {args:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
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
async fn the_target_is_a_secrets_name() {
    let (good, bad) = SECRET_NAMES;
    let parts = ["spec.target.name", "must be the name of a Secret: lower-case letters"];
    rule("target", "target.name", texts(good), texts(bad), &parts).await;
    let (longest, longer) = (texts([&*"t".repeat(253)]), texts([&*"t".repeat(254)]));
    rule("target", "target.name", longest, longer, &["spec.target.name", "253"]).await;
}

#[tokio::test]
async fn the_target_is_not_the_source() {
    let parts = ["must differ from refreshTokenSecretRef.name", "give the access token a Secret of its own"];
    rule("same", "target.name", texts(["other"]), texts(["source"]), &parts).await;
}

#[tokio::test]
async fn a_creation_policy_is_one_of_three() {
    rule(
        "policy",
        "target.creationPolicy",
        texts(["Owner", "Orphan", "Merge"]),
        texts(["owner", "None", ""]),
        &["spec.target.creationPolicy", "supported values: \"Owner\", \"Orphan\", \"Merge\""],
    )
    .await;
}

#[tokio::test]
async fn reserved_keys_of_labels_and_annotations_are_refused() {
    for field in ["labels", "annotations"] {
        rule(
            "reserved",
            &format!("target.{field}"),
            [
                one("credentials.squadcast.com", "x"),
                one("a.credentials.squadcast.com/b", "x"),
                one("app.kubernetes.io/name", "x"),
                one("managed-by", "x"),
            ],
            [
                one("credentials.squadcast.com/credential", "x"),
                one("credentials.squadcast.com/anything", "x"),
                one("app.kubernetes.io/managed-by", "Helm"),
            ],
            &[&format!("target.{field}: keys under credentials.squadcast.com/"), "remove them"],
        )
        .await;
    }
}

#[tokio::test]
async fn keys_of_labels_and_annotations_are_ones_that_kubernetes_takes() {
    let (prefix, name) = ("p".repeat(253), "n".repeat(63));
    let longest = format!("{prefix}/{name}");
    for field in ["labels", "annotations"] {
        rule(
            "keys",
            &format!("target.{field}"),
            [
                one("team", "x"),
                one("Team_a.B-c", "x"),
                one("example.com/team", "x"),
                one("7", "x"),
                one(&longest, "x"),
            ],
            [
                one("", "x"),
                one("a b", "x"),
                one("-a", "x"),
                one("a-", "x"),
                one("/a", "x"),
                one("a/", "x"),
                one("a/b/c", "x"),
                one("Example.com/a", "x"),
                one("example..com/a", "x"),
                one(&"n".repeat(64), "x"),
                // A longer prefix is none, even where the name leaves room.
                one(&format!("{}/n", "p".repeat(254)), "x"),
            ],
            &[&format!("target.{field}: a key is a name of at most 63 letters"), "as in example.com/team"],
        )
        .await;
    }
}

#[tokio::test]
async fn values_of_labels_are_ones_that_kubernetes_takes() {
    rule(
        "values",
        "target.labels",
        [one("a", ""), one("a", "X_y.z-0"), one("a", &"v".repeat(63))],
        [one("a", "x y"), one("a", "-x"), one("a", "x-"), one("a", "x/y")],
        &["target.labels: a value has at most 63 letters", "starts and ends with a letter or digit"],
    )
    .await;
    rule("values", "target.labels", [], [one("a", &"v".repeat(64))], &["spec.target.labels.a", "63"]).await;
    // An annotation holds any text, and some of it at length.
    rule(
        "values",
        "target.annotations",
        [one("a", ""), one("a", "x y\n\u{e4}"), one("a", &"v".repeat(4096))],
        [one("a", &"v".repeat(4097))],
        &["spec.target.annotations.a", "4096"],
    )
    .await;
    // Bytes count, as they do for Kubernetes.
    let (longest, longer) = (one("a", &"\u{e4}".repeat(2048)), one("a", &"\u{e4}".repeat(2049)));
    let parts = ["target.annotations: a value may have at most 4096 bytes: shorten it"];
    rule("values", "target.annotations", [longest], [longer], &parts).await;
}

#[tokio::test]
async fn there_are_at_most_32_labels_and_32_annotations() {
    for field in ["labels", "annotations"] {
        let field = format!("target.{field}");
        let parts = [&format!("spec.{field}"), "32"];
        rule("many", &field, [entries(32, "x")], [entries(33, "x")], &parts.map(|part| part as &str)).await;
    }
}

#[tokio::test]
async fn a_template_has_keys_of_a_secret() {
    let longest = "k".repeat(253);
    rule(
        "template",
        "target.template",
        [
            one("authorization", "{{ token_type }} {{ access_token }}"),
            one(".env", "x"),
            one("a.b-c_D9", "x"),
            one(&longest, "x"),
        ],
        [one("", "x"), one("a b", "x"), one("a/b", "x"), one(".", "x"), one("..", "x"), one("..a", "x")],
        &["target.template: a key must be a key of a Secret: at most 253 letters"],
    )
    .await;
    let longer = [one(&"k".repeat(254), "x")];
    rule("template", "target.template", [], longer, &["target.template: a key must be a key of a Secret"])
        .await;
}

#[tokio::test]
async fn a_template_has_1_to_64_entries_of_at_most_8_kib() {
    rule("sizes", "target.template", [entries(1, "x")], [json!({})], &["spec.target.template", "at least 1"])
        .await;
    rule("sizes", "target.template", [entries(64, "x")], [entries(65, "x")], &["spec.target.template", "64"])
        .await;
    let (longest, longer) = (one("a", &"x".repeat(8192)), one("a", &"x".repeat(8193)));
    rule("sizes", "target.template", [longest], [longer], &["spec.target.template", "8192"]).await;
    // Bytes count, not characters.
    let (longest, longer) = (one("a", &"\u{e4}".repeat(4096)), one("a", &"\u{e4}".repeat(4097)));
    let parts = ["target.template: a template may have at most 8192 bytes: shorten it"];
    rule("sizes", "target.template", [longest], [longer], &parts).await;
    let parts = ["target.template: a template may not be empty", "remove the key"];
    rule("sizes", "target.template", [one("a", " ")], [one("a", "")], &parts).await;
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

#[tokio::test]
async fn no_field_names_a_namespace_or_holds_a_url() {
    let schema = schema(&definition().await);
    let fields = fields("spec", &schema.properties.unwrap()["spec"]);
    for (path, _) in fields {
        let last = path.rsplit('.').next().unwrap().to_lowercase();
        assert!(!last.contains("namespace") && !last.contains("url"), "{path}");
    }
}

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
        let text = kubectl(&world, &[&["get"], args].concat());
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
        let found = kubectl(&world, &["get", "sqc", "-o", "name", "--field-selector", selector]);
        let found: Vec<_> = found.lines().filter_map(|line| line.split('/').nth(1)).collect();
        assert_eq!(found, names, "{selector}");
    }
}

fn schema(definition: &CustomResourceDefinition) -> JSONSchemaProps {
    let schema = definition.spec.versions[0].schema.clone().unwrap();
    schema.open_api_v3_schema.unwrap()
}

/// Every field below a schema, with its path.
fn fields(path: &str, schema: &JSONSchemaProps) -> Vec<(String, JSONSchemaProps)> {
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
async fn kubectl_explains_every_field() {
    let world = World::new("explain").await;
    let schema = schema(&definition().await);
    assert!(schema.description.clone().is_some_and(|text| text.contains("Squadcast access token")));
    for root in ["spec", "status"] {
        let tree = kubectl(&world, &["explain", &format!("squadcastcredential.{root}"), "--recursive"]);
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
    let explained = kubectl(&world, &["explain", "sqc.spec.refreshTokenRotation"]);
    let explained = explained.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(explained.contains("Do not use WriteBack where Git"), "{explained}");
    assert!(explained.contains("ENUM") && explained.contains("Ignore"), "{explained}");
}
