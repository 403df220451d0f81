//! Templates: what they write, and that one of no use is refused before an exchange.

use std::collections::BTreeMap;

use futures::future::join_all;
use serde_json::json;

use super::keys;
use crate::{
    steps::{Stage, conditions, message, spec, target},
    support::Reply,
};

#[tokio::test]
async fn a_template_replaces_the_default_keys() {
    let stage = Stage::new("template").await;
    let template = json!({
        "authorization": "{{ token_type }} {{ access_token }}",
        "coded": "{{ access_token | b64encode }}",
        ".hidden": "{% if region == 'test' %}{{ api_url }}{% else %}none{% endif %}\n",
        "numbers.json": "{\"from\": {{ issued_at }}, \"to\": {{ expires_at + 1 }}, \"q\": \"<&>\"}",
    });
    stage.resource_with("one", json!({ "template": template })).await;
    stage.squadcast.script("rt-one", Reply::token().token_type("bearer"));
    stage.settled("one").await;
    let minted = stage.squadcast.minted("rt-one")[0].clone();
    let data = stage.secret_data(&target("one")).await;
    let coded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &minted.access_token);
    let numbers =
        format!("{{\"from\": {}, \"to\": {}, \"q\": \"<&>\"}}", minted.issued_at, minted.expires_at + 1);
    assert_eq!(data.len(), 4);
    assert_eq!(data["authorization"], format!("Bearer {}", minted.access_token));
    assert_eq!((&data["coded"], &data["numbers.json"]), (&coded, &numbers));
    assert!(data[".hidden"].starts_with("https://") && data[".hidden"].ends_with('\n'), "{data:?}");

    // Another template needs a token to render; what is not in it any more goes.
    stage.edit(&target("one"), json!({ "stringData": { "theirs": "x" } })).await;
    stage.apply("one", spec("one", json!({ "template": { "t": "{{ access_token }}" } }))).await;
    stage.settled("one").await;
    let data = stage.secret_data(&target("one")).await;
    assert_eq!(data.keys().collect::<Vec<_>>(), ["t", "theirs"]);
    assert!(stage.squadcast.is_good(&data["t"]));
    assert_eq!(stage.exchanges("one"), 2);
    stage.apply("one", spec("one", json!({}))).await;
    stage.settled("one").await;
    let data = stage.secret_data(&target("one")).await;
    assert_eq!(
        data.keys().collect::<Vec<_>>(),
        ["access_token", "expires_at", "issued_at", "theirs", "token_type"]
    );
    assert_eq!(stage.exchanges("one"), 3);
}

#[tokio::test]
async fn a_template_of_no_use_is_refused_before_an_exchange() {
    let stage = Stage::new("template-invalid").await;
    let stalled =
        |reason: &str| format!("Ready=False {reason}, Synced=False {reason}, Stalled=True {reason}");
    let big = format!("{{{{ '{}'{} }}}}", "x".repeat(7000), " | b64encode".repeat(6));
    let many: BTreeMap<String, &str> = (0..40).map(|n| (format!("k{n}"), big.as_str())).collect();
    let cases = [
        ("syntax", json!({ "bad": "one\n{{ access_token" }), "TemplateInvalid", "line 2"),
        ("undefined", json!({ "ok": "x", "bad": "{{ acces_token }}" }), "TemplateInvalid", "acces_token"),
        ("loop", json!({ "bad": "{% for i in range(9) %}x{% endfor %}" }), "TemplateInvalid", "line 1"),
        ("filter", json!({ "bad": "\n\n{{ region | nonsense }}" }), "TemplateInvalid", "line 3"),
        ("include", json!({ "bad": "{% include 'x' %}" }), "TemplateInvalid", "line 1"),
        ("large", json!(many), "TargetTooLarge", "1048576"),
    ];
    let stage = &stage;
    join_all(cases.map(async |(name, template, reason, part)| {
        stage.resource_with(name, json!({ "template": template })).await;
        let resource = stage.wait_conditions(name, &stalled(reason)).await;
        let said = message(&resource, "Stalled");
        assert!(said.contains(part), "{name}: {said}");
        assert_eq!(said.contains("\"bad\""), reason == "TemplateInvalid", "{name}: {said}");
        assert_eq!(stage.exchanges(name), 0, "{name}");
        stage.apply(name, spec(name, json!({ "template": { "ok": "{{ access_token }}" } }))).await;
        stage.settled(name).await;
        // A mistake that comes later leaves the token that is there alone.
        stage.apply(name, spec(name, json!({ "template": template }))).await;
        let held = stage
            .wait_status(name, reason, |r| conditions(r).contains(&format!("Stalled=True {reason}")))
            .await;
        assert!(conditions(&held).starts_with("Ready=True TokenValid"), "{name}: {}", conditions(&held));
        assert_eq!(keys(&stage.secret(&target(name)).await.unwrap()), ["ok"], "{name}");
        assert_eq!(stage.exchanges(name), 1, "{name}");
    }))
    .await;
}
