//! Whole walks through the rooms: how many exchanges a change costs, and what is in the target after it.

mod world;

use std::sync::atomic::Ordering;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use self::world::{Answer, World};
use super::*;

#[tokio::test]
async fn a_request_and_a_repair_get_no_answer_from_before_and_others_do() {
    type Change = Box<dyn Fn(&World)>;
    let edit = json!({ "data": { "access_token": BASE64.encode("edited") } });
    let notes = json!({ "metadata": { "annotations": { names::ANNOTATION_FINGERPRINT: null } } });
    let template = json!({ "target": { "template": { "access_token": "{{ access_token }}" } } });
    let changes: [(&str, Change, usize); 5] = [
        ("asked for", Box::new(|world| world.request("one")), 3),
        ("edited", Box::new(move |world| world.target(&edit)), 3),
        ("deleted", Box::new(|world| drop(world.cluster.lock().unwrap().secrets.remove("token"))), 3),
        ("notes lost", Box::new(move |world| world.target(&notes)), 3),
        ("another template", Box::new(move |world| world.spec(&template)), 2),
    ];
    for (what, change, exchanges) in changes {
        let mut world = World::issued().await;
        world.pass(60);
        world.another_asks().await;
        assert_eq!(world.sent(), 2, "{what}: the first answer is too old for others");
        world.pass(10);
        change(&world);
        assert_eq!(world.walk().await, "issued", "{what}");
        assert_eq!((world.sent(), world.holds()), (exchanges, format!("access-{exchanges}")), "{what}");
    }
}

#[tokio::test]
async fn a_request_whose_write_meets_a_conflict_is_answered_by_one_exchange_and_echoed() {
    let mut world = World::issued().await;
    world.pass(60);
    world.request("one");
    let label = json!({ "metadata": { "labels": { "theirs": "kept" } } });
    world.cluster.lock().unwrap().overtaken_by = Some(label);
    assert_eq!(world.walk().await, "issued");
    assert_eq!((world.sent(), world.holds().as_str()), (2, "access-2"));
    assert_eq!(world.secret("token")["metadata"]["labels"]["theirs"], "kept");
    assert_eq!(world.status().last_handled_renew_request.as_deref(), Some("one"));
    world.pass(60);
    assert_eq!((world.walk().await, world.sent()), ("unchanged", 2));
}

#[tokio::test]
async fn what_is_not_wanted_any_more_when_its_turn_comes_costs_no_exchange() {
    let mut world = World::new().await;
    world.wanted.store(false, Ordering::SeqCst);
    assert_eq!((world.walk().await, world.sent()), ("dropped", 0));
    world.wanted.store(true, Ordering::SeqCst);
    assert_eq!((world.walk().await, world.sent()), ("issued", 1));
}

#[tokio::test]
async fn after_a_write_back_the_target_speaks_of_the_new_refresh_token() {
    let mut world = World::new().await;
    world.spec(&json!({ "refreshTokenRotation": "WriteBack" }));
    world.answers(Answer::Rotates("next"));
    assert_eq!(world.walk().await, "issued");
    assert_eq!(world.value("source", "refresh_token"), "next");
    assert_eq!(world.fingerprint(), token("next").fingerprint("us"));
    // Nobody takes the new value for a user's change, also when no answer can be shared any more.
    world.pass(60);
    assert_eq!((world.walk().await, world.sent()), ("unchanged", 1));
}

/// A resource whose new refresh token could not be written into its source.
async fn unsaved() -> World {
    let mut world = World::new().await;
    world.spec(&json!({ "refreshTokenRotation": "WriteBack" }));
    world.answers(Answer::Rotates("next"));
    world.cluster.lock().unwrap().keeps_source = true;
    assert_eq!((world.walk().await, world.sent(), world.unsaved()), ("failed", 1, 1));
    world
}

#[tokio::test]
async fn who_moves_to_another_secret_with_the_same_refresh_token_takes_its_successor_along() {
    let mut world = unsaved().await;
    world.stores("elsewhere", "rt");
    world.spec(&json!({ "refreshTokenSecretRef": { "name": "elsewhere" } }));
    world.resource(&json!({ "metadata": { "generation": 3 } }));
    assert_eq!((world.walk().await, world.sent(), world.unsaved()), ("issued", 1, 0));
    assert_eq!(world.value("elsewhere", "refresh_token"), "next");
    assert_eq!(world.value("source", "refresh_token"), "rt");
}

#[tokio::test]
async fn a_refresh_token_that_the_user_replaces_is_not_to_be_saved_any_more() {
    let mut world = unsaved().await;
    world.pass(30);
    world.stores("source", "users");
    world.answers(Answer::Fails(Reason::RefreshTokenRejected));
    assert_eq!((world.walk().await, world.sent(), world.unsaved()), ("failed", 2, 0));
    // Where it is what another one has written, the token that came with it is good.
    let mut world = unsaved().await;
    world.pass(30);
    world.stores("source", "next");
    assert_eq!((world.walk().await, world.sent(), world.unsaved()), ("issued", 1, 0));
    assert_eq!((world.holds().as_str(), world.fingerprint()), ("access-1", token("next").fingerprint("us")));
}

/// A refresh token that is replaced faster than it can be read is no failure, and the request stays open.
#[tokio::test]
async fn a_source_that_is_written_back_at_each_look_is_looked_at_again_soon() {
    let mut world = World::issued().await;
    world.pass(60);
    world.request("one");
    world.on_read(|name, between| {
        if name == "source" {
            between.writes_back();
        }
    });
    assert_eq!((world.walk().await, world.sent()), ("dropped", 1));
    assert_eq!(world.wake, Some(at(ISSUED + 61)));
    assert_eq!(world.status().last_handled_renew_request, None);
    world.on_read(|_, _| ());
    assert_eq!((world.walk().await, world.sent()), ("issued", 2));
    assert_eq!(world.status().last_handled_renew_request.as_deref(), Some("one"));
}

/// Also where the moment from which answers are good enough was told before the edit.
#[tokio::test]
async fn an_edit_while_a_write_back_is_waited_for_gets_no_answer_from_before() {
    let mut world = World::issued().await;
    world.pass(60);
    world.request("one");
    let mut reads = Vec::new();
    world.on_read(move |name, between| {
        reads.push(name.to_owned());
        match (name, reads.len()) {
            ("source", 2) => between.writes_back(),
            ("token", 3) => between.asks_before_an_edit(),
            _ => {}
        }
    });
    assert_eq!(world.walk().await, "issued");
    assert_eq!((world.sent(), world.holds().as_str()), (3, "access-3"));
}

#[tokio::test]
async fn a_retry_gets_no_failure_from_before() {
    let mut world = World::new().await;
    world.answers(Answer::Fails(Reason::ServiceUnavailable));
    assert_eq!((world.walk().await, world.sent()), ("failed", 1));
    let wait = world.status().next_attempt_at.unwrap().as_second() - ISSUED;
    assert!((4..30).contains(&wait), "others would still get that failure after {wait} s");
    world.pass(wait);
    assert_eq!((world.walk().await, world.sent()), ("issued", 2));
}

#[tokio::test]
async fn labels_and_owners_are_kept_while_exchanges_fail() {
    let mut world = World::issued().await;
    world.pass(60);
    world.request("one");
    let fine = world.secret("token")["metadata"].clone();
    let kept = |world: &World, when: &str| {
        for field in ["labels", "ownerReferences"] {
            assert_eq!(world.secret("token")["metadata"][field], fine[field], "{field} {when}");
        }
    };
    world.answers(Answer::Fails(Reason::ServiceUnavailable));
    world.target(&json!({ "metadata": { "labels": { names::LABEL_MANAGED_BY: null } } }));
    assert_eq!(world.walk().await, "failed");
    kept(&world, "at the failure");
    world.target(&json!({ "metadata": { "ownerReferences": null } }));
    assert_eq!(world.walk().await, "waiting");
    kept(&world, "until the next attempt");
    assert_eq!((world.sent(), world.holds().as_str()), (2, "access-1"));
}

#[tokio::test]
async fn a_source_that_the_watch_has_not_told_of_yet_is_read() {
    let mut world = World::new().await;
    assert_eq!(world.walk_with(Known::Absent).await, "issued");
}
