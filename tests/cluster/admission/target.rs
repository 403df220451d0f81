//! The target in the spec: its name, its policy, and what may be put into it.

use serde_json::json;

use super::{SECRET_NAMES, entries, one, rule, texts};

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
