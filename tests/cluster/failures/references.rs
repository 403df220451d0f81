//! A source or a region that a resource names in vain: told before anything is asked, and mended by itself.

use futures::future::join_all;
use serde_json::json;

use super::{all_false, stalled, unsynced};
use crate::{
    steps::{Stage, message, source, spec, target, token},
    support::{
        DEADLINE, Reply, eventually,
        world::{REGION, World},
    },
};

#[tokio::test]
async fn a_source_of_no_use_is_told_and_recovers_when_it_changes() {
    let stage = Stage::new("sources").await;
    let long = "x".repeat(4097);
    let cases = [
        ("missing", None, "RefreshTokenSecretNotFound", "does not exist"),
        ("keyless", Some(("other", "x")), "RefreshTokenKeyNotFound", "it has other"),
        ("empty", Some(("refresh_token", "")), "RefreshTokenInvalid", "is empty"),
        ("blank", Some(("refresh_token", " \n\t")), "RefreshTokenInvalid", "is empty"),
        ("long", Some(("refresh_token", &*long)), "RefreshTokenInvalid", "4 KiB"),
        ("lines", Some(("refresh_token", "a\nb")), "RefreshTokenInvalid", "header"),
        ("letters", Some(("refresh_token", "schlüssel")), "RefreshTokenInvalid", "header"),
    ];
    join_all(cases.map(async |(name, data, reason, part)| {
        if let Some(data) = data {
            stage.put_secret(&source(name), &[data]).await;
        }
        stage.credential(name, &source(name), &target(name)).await;
        // Not stalled: it goes on by itself when the Secret changes.
        let resource = stage.wait_conditions(name, &all_false(reason)).await;
        let said = message(&resource, "Synced");
        assert!(said.contains(part) && said.contains(&source(name)), "{name}: {said}");
        assert!(said.contains("refresh_token"), "{name}: {said}");
        if let Some(("refresh_token", value)) = data.filter(|(_, value)| value.len() > 1) {
            assert!(!said.contains(value), "{name}: {said}");
        }
        stage.squadcast.accept(&token(name));
        stage.put_secret(&source(name), &[("refresh_token", &format!(" {}\n", token(name)))]).await;
        stage.settled(name).await;
        assert_eq!(stage.exchanges(name), 1, "{name}: white space around the value is no part of it");
        eventually("its events", DEADLINE, async || {
            // One may come before: of two things made at once, the operator hears of either first.
            stage.event_reasons(name).await.ends_with(&[reason.to_owned(), "TokenIssued".to_owned()])
        })
        .await;
    }))
    .await;
    assert_eq!(stage.squadcast.all_requests().len(), 7, "nothing else was asked");
}

#[tokio::test]
async fn a_source_that_goes_leaves_ready_true_while_the_token_is_good() {
    let stage = Stage::new("source-gone").await;
    stage.resource("one", Reply::token()).await;
    stage.settled("one").await;
    stage.delete_secret(&source("one")).await;
    stage.wait_conditions("one", &unsynced("RefreshTokenSecretNotFound")).await;
    stage.put_secret(&source("one"), &[("refresh_token", "rt-one")]).await;
    stage.settled("one").await;
    assert_eq!(stage.exchanges("one"), 1);
}

#[tokio::test]
async fn only_labelled_sources_are_read_where_the_label_is_required() {
    let stage = Stage::with(World::new("label").await, &["--require-source-label".to_owned()]).await;
    stage.resource("one", Reply::token()).await;
    let resource = stage.wait_conditions("one", &all_false("RefreshTokenNotAllowed")).await;
    let said = message(&resource, "Synced");
    assert!(said.contains("credentials.squadcast.com/refresh-token: \"true\""), "{said}");
    assert_eq!(stage.exchanges("one"), 0);
    let labels = json!({ "credentials.squadcast.com/refresh-token": "true" });
    let data = json!({ "refresh_token": "rt-one" });
    stage.apply_secret(&source("one"), json!({ "metadata": { "labels": labels }, "stringData": data })).await;
    stage.settled("one").await;
    // The label taken away again: the token that is there stays good.
    stage.put_secret(&source("one"), &[("refresh_token", "rt-one")]).await;
    stage.wait_conditions("one", &unsynced("RefreshTokenNotAllowed")).await;
    assert_eq!(stage.exchanges("one"), 1);
}

#[tokio::test]
async fn an_unknown_region_stalls_until_it_is_corrected() {
    let stage = Stage::new("region").await;
    stage.source("one", Reply::token()).await;
    let mut wrong = spec("one", json!({}));
    wrong["region"] = "mars".into();
    stage.apply("one", wrong.clone()).await;
    let resource = stage.wait_conditions("one", &stalled("UnknownRegion")).await;
    let said = message(&resource, "Stalled");
    for part in ["mars", "us", "eu", REGION, "--region"] {
        assert!(said.contains(part), "{said}");
    }
    stage.apply("one", spec("one", json!({}))).await;
    stage.settled("one").await;
    // A token of another region is no token for Ready.
    stage.apply("one", wrong).await;
    stage.wait_conditions("one", &stalled("UnknownRegion")).await;
    assert_eq!(stage.exchanges("one"), 1);
}
