//! Squadcast says no: when that stalls a resource, and what makes it try again.

use futures::future::join_all;
use serde_json::json;

use super::{stalled, unsynced};
use crate::{
    steps::{Stage, conditions, failures, instant, message, source, spec, token, wait_of},
    support::{DEADLINE, Reply, Script, eventually},
};

/// Statuses with which Squadcast says no, and what a resource then reports.
const REJECTIONS: [(u16, &str); 6] = [
    (400, "RequestRejected"),
    (404, "RequestRejected"),
    (422, "RequestRejected"),
    (401, "RefreshTokenRejected"),
    (403, "RefreshTokenRejected"),
    (402, "PaymentRequired"),
];

#[tokio::test]
async fn a_rejection_stalls_at_once_where_no_token_is_held() {
    let stage = Stage::new("rejected-new").await;
    join_all(REJECTIONS.map(async |(code, reason)| {
        let name = format!("s{code}");
        stage.resource(&name, Reply::error(code)).await;
        let resource = stage.wait_conditions(&name, &stalled(reason)).await;
        assert_eq!((failures(&resource), wait_of(&resource)), (1, 3600), "{name}");
        for kind in ["Ready", "Synced", "Stalled"] {
            let text = message(&resource, kind);
            assert!(text.contains(&format!("HTTP {code}")) && text.contains("127.0.0.1"), "{name}: {text}");
        }
        let said = message(&resource, "Synced");
        assert!(said.contains("usually"), "{name}: {said}");
        if code == 401 {
            assert!(said.contains("unauthorized: invalid refresh token"), "{said}");
            for usual in ["revoked", "user was removed", "another region"] {
                assert!(said.contains(usual), "{said}");
            }
        }
        eventually("one event", DEADLINE, async || stage.event_reasons(&name).await == [reason]).await;
        assert_eq!(stage.exchanges(&name), 1, "{name}");
    }))
    .await;
    stage.flush().await;
    for (code, _) in REJECTIONS {
        assert_eq!(stage.exchanges(&format!("s{code}")), 1, "nothing more comes for {code}");
    }
}

#[tokio::test]
async fn an_error_is_squadcasts_whatever_else_its_json_holds() {
    let stage = Stage::new("rejected-forms").await;
    let forms = [
        ("text", json!({"meta": {"status": "401", "error_message": "words of Squadcast"}})),
        (
            "more",
            json!({"meta": {"status": 401, "error_message": "words of Squadcast", "error_details": {"a": [1]}},
                   "conflict_data": [{}]}),
        ),
        ("bare", json!({"meta": {}})),
    ];
    join_all(forms.map(async |(name, body)| {
        stage.resource(name, Reply::json(401, &body)).await;
        let resource = stage.wait_conditions(name, &stalled("RefreshTokenRejected")).await;
        let said = message(&resource, "Synced");
        assert_eq!(said.contains("words of Squadcast"), name != "bare", "{said}");
    }))
    .await;
}

#[tokio::test]
async fn a_rejection_is_confirmed_by_a_second_one_where_a_token_is_held() {
    let stage = Stage::new("rejected-held").await;
    join_all(REJECTIONS.map(async |(code, reason)| {
        let name = format!("s{code}");
        let script = Script::of([Reply::token().life(20_000), Reply::error(code)]);
        stage.resource(&name, script).await;
        let issued = stage.settled(&name).await;

        let first = stage.attempt(&name).await;
        assert_eq!(conditions(&first), unsynced(reason), "{name}");
        assert_eq!((failures(&first), wait_of(&first)), (1, 60), "{name}");
        assert_eq!(first["status"]["expiresAt"], issued["status"]["expiresAt"], "{name}");

        let second = stage.attempt(&name).await;
        let ends_ready = matches!(code, 401 | 403);
        let ready = if ends_ready { format!("Ready=False {reason}") } else { "Ready=True TokenValid".into() };
        assert_eq!(
            conditions(&second),
            format!("{ready}, Synced=False {reason}, Stalled=True {reason}"),
            "{name}"
        );
        assert_eq!(failures(&second), 2, "{name}");
        let left = instant(&second, "expiresAt").as_second() - instant(&second, "lastFailureAt").as_second();
        let wait = wait_of(&second);
        assert!((left / 10 - 1..=left / 10 + 1).contains(&wait), "{name}: {wait} of {left}");
        assert_eq!(stage.exchanges(&name), 3, "{name}");
        // The Secret stays as it was.
        let minted = &stage.squadcast.minted(&token(&name))[0].access_token;
        assert_eq!(stage.written(&name).await.0, *minted, "{name}");
    }))
    .await;
}

#[tokio::test]
async fn a_rejection_of_another_refresh_token_than_the_targets_leaves_ready_true() {
    let stage = Stage::new("rejected-other").await;
    stage.resource("one", Reply::token()).await;
    stage.settled("one").await;
    stage.put_secret(&source("one"), &[("refresh_token", "rt-unknown")]).await;
    let first = stage.wait_conditions("one", &unsynced("RefreshTokenRejected")).await;
    assert_eq!((failures(&first), wait_of(&first)), (1, 60));
    let second = stage.attempt("one").await;
    assert_eq!(
        conditions(&second),
        "Ready=True TokenValid, Synced=False RefreshTokenRejected, Stalled=True RefreshTokenRejected"
    );
    assert!(stage.written("one").await.1, "the token in the target is still good");
    assert_eq!(stage.squadcast.count("rt-unknown"), 2);
}

#[tokio::test]
async fn a_rejected_resource_recovers_with_a_new_refresh_token() {
    let mut stage = Stage::new("rejected-recovery").await;
    stage.squadcast.accept("rt-new");
    for name in ["runs", "rests"] {
        stage.resource(name, Script::of([Reply::token(), Reply::error(401)])).await;
        stage.settled(name).await;
        stage.attempt(name).await;
        let rejected = stage.attempt(name).await;
        assert_eq!(conditions(&rejected), stalled("RefreshTokenRejected"));
    }
    // A change of the Secret that leaves the value as it is changes nothing.
    stage
        .apply_secret(
            &source("runs"),
            json!({ "metadata": { "labels": { "a": "b" } },
        "stringData": { "refresh_token": token("runs"), "other": "x" } }),
        )
        .await;
    stage.flush().await;
    assert_eq!(stage.exchanges("runs"), 3);

    stage.put_secret(&source("runs"), &[("refresh_token", "rt-new")]).await;
    let resource = stage.settled("runs").await;
    assert_eq!(failures(&resource), 0);
    assert!(resource["status"]["nextAttemptAt"].is_null(), "{}", resource["status"]);
    assert_eq!(stage.written("runs").await, (stage.squadcast.minted("rt-new")[0].access_token.clone(), true));

    // Corrected while no operator ran: tried at once, an hour before the next attempt in the status.
    stage
        .restart(async |world| {
            world.squadcast.accept("rt-newer");
            world.put_secret(&source("rests"), &[("refresh_token", "rt-newer")]).await;
        })
        .await;
    stage.settled("rests").await;
    assert_eq!(stage.squadcast.count("rt-newer"), 1);
    assert!(stage.written("rests").await.1);
    assert_eq!(stage.exchanges("rests"), 3);
}

#[tokio::test]
async fn a_change_of_spec_tries_a_rejected_refresh_token_again() {
    let stage = Stage::new("rejected-spec").await;
    stage.resource("one", Script::of([Reply::error(400), Reply::token()])).await;
    stage.wait_conditions("one", &stalled("RequestRejected")).await;
    stage.apply("one", spec("one", json!({ "labels": { "team": "a" } }))).await;
    stage.settled("one").await;
    assert_eq!(stage.exchanges("one"), 2);
}

#[tokio::test]
async fn squadcasts_words_are_cleaned_and_hold_no_token() {
    let stage = Stage::new("words").await;
    let words = format!("first\u{7}\n\u{1b}[31mline rt-echo {}", "x".repeat(400));
    let meta = json!({ "status": 400, "error_message": words });
    stage.resource("echo", Reply::error_with(400, &meta)).await;
    let resource = stage.wait_conditions("echo", &stalled("RequestRejected")).await;
    let said = message(&resource, "Synced");
    assert!(said.contains("first") && !said.contains("rt-echo"), "{said}");
    assert!(!said.chars().any(char::is_control), "{said:?}");
    let run = said.chars().filter(|c| *c == 'x').count();
    assert!((200..=256 + 4).contains(&run), "{run} in {said}");
    eventually("the event", DEADLINE, async || {
        let events = stage.events("echo").await;
        events.first().and_then(|event| event.note.clone()).filter(|note| !note.contains("rt-echo"))
    })
    .await;
    assert!(!stage.operator.log().contains("rt-echo"));
    assert!(!stage.operator.log().contains('\u{7}'));
}
