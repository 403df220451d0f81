//! An answer with another refresh token than the one sent: told under `Ignore`, saved under `WriteBack`.

use futures::future::join_all;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    OPERATOR,
    administrator::{forbid, permit, wait_probe},
    steps::{Stage, conditions, instant, message, source, spec, target},
    support::{DEADLINE, Gate, Reply, Script, eventually, world::World},
};

const COUNTER: &str = "squadcast_refresh_token_rotations_total{region=\"test\"}";

/// The spec of a resource that reads the source of `of`, with `WriteBack`.
fn write_back(name: &str, of: &str) -> Value {
    let mut spec = spec(name, json!({}));
    spec["refreshTokenSecretRef"]["name"] = source(of).into();
    spec["refreshTokenRotation"] = "WriteBack".into();
    spec
}

/// A token together with this new refresh token, which the stand-in knows from now on.
fn rotates(stage: &Stage, to: &str) -> Reply {
    stage.squadcast.accept(to);
    Reply::token().refresh_token(to)
}

impl Stage {
    async fn stored(&self, name: &str) -> String {
        self.secret_data(&source(name)).await.remove("refresh_token").unwrap_or_default()
    }

    async fn rotations_told(&self, name: &str) -> usize {
        self.event_reasons(name).await.iter().filter(|reason| *reason == "RefreshTokenRotated").count()
    }
}

#[tokio::test]
async fn ignore_tells_once_for_an_exchange_and_leaves_the_source_alone() {
    let stage = Stage::new("rotation-ignore").await;
    let names = ["one", "two", "three"];
    stage.source("one", rotates(&stage, "rt-next")).await;
    for name in names {
        let mut spec = spec(name, json!({}));
        spec["refreshTokenSecretRef"]["name"] = source("one").into();
        stage.apply(name, spec).await;
    }
    join_all(names.map(async |name| stage.settled(name).await)).await;
    assert_eq!(stage.operator.metric(COUNTER), Some(1.0));
    let told = async || {
        let each = join_all(names.map(async |name| stage.rotations_told(name).await)).await;
        each.iter().sum::<usize>() == 1
    };
    eventually("one event for one exchange", DEADLINE, told).await;
    stage.attempt("one").await;
    assert_eq!(stage.operator.metric(COUNTER), Some(2.0));
    assert_eq!(stage.stored("one").await, "rt-one");
    assert_eq!((stage.exchanges("one"), stage.squadcast.count("rt-next")), (2, 0));
}

#[tokio::test]
async fn write_back_saves_the_new_value_first_and_wakes_nobody() {
    let mut stage = Stage::new("write-back").await;
    let reply = rotates(&stage, "rt-next");
    stage.squadcast.script("rt-one", reply);
    stage.put_secret(&source("one"), &[("refresh_token", " rt-one\n"), ("other", "kept")]).await;
    stage.apply("one", write_back("one", "one")).await;
    stage.settled("one").await;
    let kept = stage.secret_data(&source("one")).await;
    assert_eq!((kept["refresh_token"].as_str(), kept["other"].as_str()), ("rt-next", "kept"));
    let requests = stage.requests_of(&stage.operator);
    let writes: Vec<_> = requests.iter().filter(|r| r.resource == "secrets" && r.is_write()).collect();
    let what: Vec<_> = writes.iter().map(|r| (r.verb.as_str(), r.code)).collect();
    assert_eq!(what, [("patch", Some(200)), ("create", Some(201))], "the source first, then the target");
    assert_eq!(writes[0].name, source("one"));
    stage.flush().await;
    eventually("its event", DEADLINE, async || stage.rotations_told("one").await == 1).await;
    stage.restart(async |_| ()).await;
    stage.flush().await;
    assert_eq!((stage.exchanges("one"), stage.squadcast.count("rt-next")), (1, 0));
    assert_eq!(stage.rotations_told("one").await, 1);
    // The next one is made with the new value.
    stage.attempt("one").await;
    assert_eq!((stage.exchanges("one"), stage.squadcast.count("rt-next")), (1, 1));
    assert!(stage.written("one").await.1);
}

#[tokio::test]
async fn a_users_newer_value_wins_over_the_one_to_write_back() {
    let stage = Stage::new("write-back-newer").await;
    let gate = Gate::new();
    stage.source("one", rotates(&stage, "rt-next").hold(&gate)).await;
    stage.apply("one", write_back("one", "one")).await;
    stage.squadcast.wait_for_count("rt-one", 1, DEADLINE).await;
    stage.refresh_token(&source("one"), "rt-user").await;
    gate.release();
    stage.settled("one").await;
    assert_eq!(stage.stored("one").await, "rt-user");
    assert_eq!(stage.squadcast.minted_as(&stage.written("one").await.0).unwrap().refresh_token, "rt-user");
    assert_eq!((stage.exchanges("one"), stage.squadcast.count("rt-next")), (1, 0));
}

#[tokio::test]
async fn resources_of_one_source_go_on_with_the_new_value_without_chasing() {
    let stage = Stage::new("write-back-shared").await;
    let names = ["one", "two", "three", "four"];
    // Every exchange rotates.
    let last = rotates(&stage, "rt-third");
    stage.squadcast.script("rt-second", last);
    stage.source("one", Reply::token().refresh_token("rt-second")).await;
    for name in names {
        stage.apply(name, write_back(name, "one")).await;
    }
    join_all(names.map(async |name| stage.settled(name).await)).await;
    stage.flush().await;
    assert_eq!(stage.stored("one").await, "rt-second");
    assert_eq!((stage.exchanges("one"), stage.squadcast.count("rt-second")), (1, 0));
    stage.attempt("two").await;
    join_all(names.map(async |name| stage.settled(name).await)).await;
    stage.flush().await;
    assert_eq!(stage.stored("one").await, "rt-third");
    assert!(stage.squadcast.count("rt-second") <= 2, "{}", stage.squadcast.count("rt-second"));
    assert_eq!((stage.exchanges("one"), stage.squadcast.count("rt-third")), (1, 0));
    for name in names {
        assert!(stage.written(name).await.1, "{name}");
    }
}

#[tokio::test]
async fn a_crowd_that_waits_for_a_write_back_shares_what_comes_next() {
    let flags = ["--concurrency=1".to_owned()];
    let stage = Stage::with(World::new("write-back-crowd").await, &flags).await;
    let gate = Gate::new();
    stage.source("one", Reply::token().rotates()).await;
    let names: Vec<_> = (0..12).map(|number| format!("c{number}")).collect();
    for name in &names {
        stage.apply(name, write_back(name, "one")).await;
    }
    let last = join_all(names.iter().map(async |name| stage.settled(name).await)).await;
    let last = last.iter().map(|resource| instant(resource, "lastRenewedAt")).max().unwrap();
    eventually("the pause to end", DEADLINE, async || Timestamp::now().as_second() > last.as_second() + 5)
        .await;
    let held = stage.squadcast.newest("rt-one");
    let rotates = Reply::token().rotates();
    stage.squadcast.script(&held, Script::first([rotates.clone().hold(&gate)]).then(rotates));
    let sent = stage.squadcast.all_requests().len();
    let reads = async || {
        let all = stage.requests_of(&stage.operator);
        all.iter().filter(|request| request.verb == "get" && request.name == source("one")).count()
    };
    let before = reads().await;
    let requests = join_all(names.iter().map(async |name| stage.ask(name).await)).await;
    // All have read what is about to be replaced, most of them too late to be served by the answer to it.
    eventually("all to wait", DEADLINE, async || reads().await >= before + names.len()).await;
    gate.release();
    for (name, request) in names.iter().zip(&requests) {
        stage.handled(name, request).await;
        stage.settled(name).await;
        assert!(stage.written(name).await.1, "{name}");
    }
    let more = stage.squadcast.all_requests().len() - sent;
    assert!((1..=4).contains(&more), "{more} exchanges");
    assert!(!stage.operator.log().contains("WriteFailed"), "{}", stage.operator.log());
    assert_eq!(stage.stored("one").await, stage.squadcast.newest("rt-one"));
}

#[tokio::test]
async fn until_it_is_written_back_nothing_more_is_exchanged() {
    let stage = Stage::new("write-back-refused").await;
    stage.source("one", rotates(&stage, "rt-next")).await;
    forbid(&stage, "-source");
    wait_probe(&stage, "-source", false).await;
    stage.apply("one", write_back("one", "one")).await;
    let resource = stage.wait_conditions("one", "Ready=False WriteFailed, Synced=False WriteFailed").await;
    let said = message(&resource, "Synced");
    assert!(said.contains(&source("one")) && !said.contains("rt-next"), "{said}");
    stage.attempt("one").await;
    assert_eq!(stage.exchanges("one"), 1);
    assert_eq!(stage.secret(&target("one")).await, None, "the source comes first");
    permit(&stage, "-source").await;
    stage.settled("one").await;
    assert_eq!(stage.stored("one").await, "rt-next");
    assert!(stage.written("one").await.1);
    assert_eq!(stage.exchanges("one"), 1);
    assert!(!stage.operator.log().contains("rt-next"));
}

#[tokio::test]
async fn a_rotated_token_is_saved_when_the_operator_is_told_to_stop() {
    let mut stage = Stage::new("write-back-stop").await;
    let gate = Gate::new();
    stage.source("one", rotates(&stage, "rt-next").hold(&gate)).await;
    stage.apply("one", write_back("one", "one")).await;
    stage.squadcast.wait_for_count("rt-one", 1, DEADLINE).await;
    stage.operator.sigterm();
    gate.release();
    assert_eq!(stage.operator.wait_exit(DEADLINE).await, 0);
    assert_eq!(stage.stored("one").await, "rt-next");
    stage.restart(async |_| ()).await;
    stage.settled("one").await;
    assert_eq!(stage.exchanges("one"), 1);
}

/// A resource whose new refresh token is nowhere but in the operator's memory.
async fn unsaved(stage: &Stage, reply: Reply) {
    stage.source("one", reply).await;
    forbid(stage, "-source");
    wait_probe(stage, "-source", false).await;
    stage.apply("one", write_back("one", "one")).await;
    stage.wait_conditions("one", "Ready=False WriteFailed, Synced=False WriteFailed").await;
}

#[tokio::test]
async fn a_refused_write_back_is_tried_until_the_last_moment() {
    let mut stage = Stage::new("write-back-last").await;
    unsaved(&stage, rotates(&stage, "rt-next")).await;
    // The next attempt would come long after the process has ended.
    for _ in 0..5 {
        stage.attempt("one").await;
    }
    stage.operator.sigterm();
    stage.operator.wait_for_log("SIGTERM").await;
    assert_eq!(stage.operator.exit_code(), None);
    permit(&stage, "-source").await;
    assert_eq!(stage.operator.wait_exit(DEADLINE).await, 0);
    assert_eq!(stage.stored("one").await, "rt-next");
    stage.restart(async |_| ()).await;
    stage.settled("one").await;
    assert_eq!((stage.exchanges("one"), stage.squadcast.count("rt-next")), (1, 0));
}

#[tokio::test]
async fn what_one_secret_holds_already_is_saved_in_the_other_until_the_last_moment() {
    let stage = Stage::new("write-back-both").await;
    let gate = Gate::new();
    stage.squadcast.script("rt-shared", rotates(&stage, "rt-next").hold(&gate));
    for name in ["one", "two"] {
        stage.put_secret(&source(name), &[("refresh_token", "rt-shared")]).await;
        stage.apply(name, write_back(name, name)).await;
    }
    forbid(&stage, "two-source");
    wait_probe(&stage, "two-source", false).await;
    stage.squadcast.wait_for_count("rt-shared", 1, DEADLINE).await;
    gate.release();
    stage.settled("one").await;
    stage.wait_conditions("two", "Ready=False WriteFailed, Synced=False WriteFailed").await;
    assert_eq!(stage.stored("one").await, "rt-next");
    // Who reads that Secret too gets what there is, and sends nothing.
    stage.apply("three", write_back("three", "two")).await;
    stage.wait_conditions("three", "Ready=False WriteFailed, Synced=False WriteFailed").await;
    stage.attempt("three").await;
    assert_eq!(stage.squadcast.count("rt-shared"), 1);
    stage.operator.sigterm();
    stage.operator.wait_for_log("SIGTERM").await;
    assert_eq!(stage.operator.exit_code(), None);
    permit(&stage, "two-source").await;
    assert_eq!(stage.operator.wait_exit(DEADLINE).await, 0);
    assert_eq!(stage.stored("two").await, "rt-next");
}

#[tokio::test]
async fn a_refresh_token_that_could_not_be_saved_is_told() {
    let stage = Stage::new("write-back-lost").await;
    unsaved(&stage, rotates(&stage, "rt-next")).await;
    stage.operator.sigterm();
    assert_eq!(stage.operator.wait_exit(DEADLINE).await, 0);
    let log = stage.operator.log();
    let told = log.lines().find(|line| line.contains("could not be written back") && line.contains("ERROR"));
    assert!(told.is_some_and(|line| line.contains(&stage.namespace) && line.contains("one")), "{log}");
    assert!(!log.contains("rt-next"));
}

#[tokio::test]
async fn it_is_told_also_of_a_resource_that_was_deleted_meanwhile() {
    let stage = Stage::new("write-back-deleted").await;
    let gate = Gate::new();
    stage.source("one", rotates(&stage, "rt-next").hold(&gate)).await;
    forbid(&stage, "-source");
    wait_probe(&stage, "-source", false).await;
    stage.apply("one", write_back("one", "one")).await;
    stage.squadcast.wait_for_count("rt-one", 1, DEADLINE).await;
    stage.credentials().delete("one", &kube::api::DeleteParams::default()).await.unwrap();
    // The watch has told of that when it has told of this.
    stage.apply("later", spec("later", json!({}))).await;
    stage.wait_for("later", "Synced", "False", "RefreshTokenSecretNotFound").await;
    gate.release();
    stage.operator.wait_for_log("could not be written back").await;
    assert_eq!(stage.stored("one").await, "rt-one");
}

#[tokio::test]
async fn it_is_told_also_where_the_api_server_hangs() {
    let world = World::new("write-back-hangs").await;
    let (launch, front) = world.launch_through(OPERATOR);
    let stage = Stage::of(world, launch.start());
    stage.operator.wait_ready().await;
    unsaved(&stage, rotates(&stage, "rt-next")).await;
    front.freeze(true);
    stage.operator.sigterm();
    assert_eq!(stage.operator.wait_exit(DEADLINE).await, 0);
    let log = stage.operator.log();
    assert!(
        log.lines().any(|line| line.contains("could not be written back") && line.contains("one")),
        "{log}"
    );
}

#[tokio::test]
async fn a_write_back_outlives_the_access_token_that_came_with_it() {
    let stage = Stage::new("write-back-expired").await;
    unsaved(&stage, rotates(&stage, "rt-next").life(15)).await;
    let minted = stage.squadcast.minted("rt-one").remove(0);
    eventually("its end", DEADLINE, async || !stage.squadcast.is_good(&minted.access_token)).await;
    permit(&stage, "-source").await;
    stage.settled("one").await;
    assert_eq!(stage.stored("one").await, "rt-next");
    assert_eq!((stage.exchanges("one"), stage.squadcast.count("rt-next")), (1, 1));
}

#[tokio::test]
async fn a_write_back_does_not_wait_for_the_target() {
    let stage = Stage::new("write-back-blocked").await;
    unsaved(&stage, rotates(&stage, "rt-next")).await;
    stage.put_secret(&target("one"), &[("somebody", "else's")]).await;
    permit(&stage, "-source").await;
    stage.ask("one").await;
    eventually("the new value", DEADLINE, async || stage.stored("one").await == "rt-next").await;
    let stalled = "Ready=False TargetNotOwned, Synced=False TargetNotOwned, Stalled=True TargetNotOwned";
    stage.wait_conditions("one", stalled).await;
}

#[tokio::test]
async fn where_one_reader_of_a_key_writes_back_all_do() {
    let stage = Stage::new("write-back-any").await;
    let script = Script::of([Reply::token(), rotates(&stage, "rt-next")]);
    stage.source("one", script).await;
    stage.apply("saves", write_back("saves", "one")).await;
    stage.settled("saves").await;
    let mut leaves = write_back("leaves", "one");
    leaves["refreshTokenRotation"] = "Ignore".into();
    stage.apply("leaves", leaves).await;
    stage.settled("leaves").await;
    stage.attempt("leaves").await;
    assert_eq!(stage.stored("one").await, "rt-next");
    for name in ["saves", "leaves"] {
        stage.settled(name).await;
        assert!(stage.written(name).await.1, "{name}");
    }
}

#[tokio::test]
async fn an_immutable_source_is_refused_before_an_exchange() {
    let stage = Stage::new("write-back-immutable").await;
    stage.squadcast.script("rt-one", Script::from(Reply::token()));
    let body = json!({ "immutable": true, "stringData": { "refresh_token": "rt-one" } });
    stage.apply_secret(&source("one"), body).await;
    stage.apply("one", write_back("one", "one")).await;
    let stalled = "Ready=False WriteFailed, Synced=False WriteFailed, Stalled=True WriteFailed";
    let resource = stage.wait_conditions("one", stalled).await;
    assert!(message(&resource, "Stalled").contains("immutable"), "{}", conditions(&resource));
    assert_eq!(stage.exchanges("one"), 0);
    stage.apply("one", spec("one", json!({}))).await;
    stage.settled("one").await;
}

#[tokio::test]
async fn each_secret_of_one_refresh_token_is_treated_as_its_own_resource_says() {
    let stage = Stage::new("rotation-own").await;
    let reply = rotates(&stage, "rt-next");
    stage.squadcast.script("rt-shared", Script::of([reply, Reply::token()]));
    for name in ["saves", "leaves", "saves-too"] {
        stage.put_secret(&source(name), &[("refresh_token", "rt-shared")]).await;
        let mut own = write_back(name, name);
        if name == "leaves" {
            own["refreshTokenRotation"] = "Ignore".into();
        }
        stage.apply(name, own).await;
    }
    for name in ["saves", "leaves", "saves-too"] {
        stage.settled(name).await;
        assert!(stage.written(name).await.1, "{name}");
    }
    stage.flush().await;
    assert_eq!(stage.stored("saves").await, "rt-next");
    assert_eq!(stage.stored("saves-too").await, "rt-next");
    assert_eq!(stage.stored("leaves").await, "rt-shared");
    assert_eq!((stage.squadcast.count("rt-shared"), stage.squadcast.count("rt-next")), (1, 0));
    // Each goes on with what its own Secret holds.
    for (name, refresh_token) in [("leaves", "rt-shared"), ("saves-too", "rt-next")] {
        stage.attempt(name).await;
        let minted = stage.squadcast.minted_as(&stage.written(name).await.0).unwrap();
        assert_eq!(minted.refresh_token, refresh_token, "{name}");
    }
}
