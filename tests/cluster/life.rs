//! A token's life: first issue, renewal, restart, expiry; when each comes, and what it costs in requests.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps,
};
use kube::api::{DeleteParams, Patch, PatchParams, PropagationPolicy};
use serde_json::{Value, json};

use crate::OPERATOR;
use crate::support::audit::Request;
use crate::support::controlplane::definition_file;
use crate::support::eventually::unless;
use crate::support::squadcast::{Reply, Script};
use crate::support::world::{REGION, World, condition};
use crate::support::{ControlPlane, DEADLINE, Operator, Options, eventually};

/// What a first issue costs, sorted.
const FIRST_ISSUE: [&str; 4] =
    ["create events", "create secrets", "get secrets", "patch squadcastcredentials/status"];

/// Requests that are not about a Lease, and no watch or the list that it begins with where that cannot be streamed.
fn counted(world: &World, requests: &[Request]) -> Vec<String> {
    let streamed = world.plane.streams_lists();
    let watching = |request: &&Request| request.is_watch() || (request.verb == "list" && !streamed);
    let others = requests.iter().filter(|request| !watching(request) && request.resource != "leases");
    others.map(Request::what).collect()
}

fn requests(world: &World, operator: &Operator) -> Vec<String> {
    counted(world, &world.requests_of(operator))
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}

/// Source, target and refresh token of a resource.
fn names(name: &str) -> (String, String, String) {
    (format!("{name}-source"), format!("{name}-target"), format!("rt-{name}"))
}

/// A spec of the usual form with more fields.
fn spec(name: &str, more: &Value) -> Value {
    let (source, target, _) = names(name);
    let mut spec = json!({
        "region": REGION,
        "refreshTokenSecretRef": {"name": source},
        "target": {"name": target},
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        match field.as_str() {
            "creationPolicy" => spec["target"][field] = value.clone(),
            _ => spec[field] = value.clone(),
        }
    }
    spec
}

/// Creates a resource whose refresh token is answered like this.
async fn create(world: &World, name: &str, answer: impl Into<Script>, more: &Value) {
    let (source, _, refresh_token) = names(name);
    world.squadcast.script(&refresh_token, answer);
    world.put_secret(&source, &[("refresh_token", &refresh_token)]).await;
    world.apply(name, spec(name, more)).await;
}

/// Waits until a resource's events have these reasons.
async fn wait_events(world: &World, name: &str, wanted: &[&str]) {
    eventually(&format!("events {wanted:?} about {name}"), DEADLINE, async || {
        let reasons = world.event_reasons(name).await;
        unless(reasons == wanted, reasons)
    })
    .await;
}

/// One more resource from its creation to the event of its first issue. What the operator was about to do before
/// it has done by then.
async fn full_cycle(world: &World, name: &str) -> Value {
    create(world, name, Reply::token(), &json!({})).await;
    let resource = world.wait_ready(name).await;
    wait_events(world, name, &["TokenIssued"]).await;
    resource
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap_or_else(|| panic!("{value} is no time")).parse().unwrap()
}

fn seconds(resource: &Value, from: &str, to: &str) -> i64 {
    let status = &resource["status"];
    time(&status[to]).as_second() - time(&status[from]).as_second()
}

/// `renewAt` lies within a tenth before so many seconds after issue.
fn renews_after(resource: &Value, base: i64) {
    let after = seconds(resource, "issuedAt", "renewAt");
    assert!((base * 9 / 10 - 1..=base).contains(&after), "{after} of {base}: {}", resource["status"]);
}

async fn version(world: &World, secret: &str) -> String {
    world.secret(secret).await.unwrap().metadata.resource_version.unwrap()
}

#[tokio::test]
async fn a_first_issue_costs_four_requests_and_being_well_none() {
    let world = World::new("first").await;
    let operator = world.operator(OPERATOR, &[]).await;
    let idle = requests(&world, &operator);
    assert!(idle.is_empty(), "{idle:?}");
    for number in 1..=3 {
        full_cycle(&world, &format!("x{number}")).await;
        // Those that came before are well, and cost nothing more.
        let all: Vec<_> = (0..number).flat_map(|_| FIRST_ISSUE).map(str::to_owned).collect();
        assert_eq!(sorted(requests(&world, &operator)), sorted(all));
    }

    let minted = &world.squadcast.minted("rt-x1")[0];
    let data = world.secret_data("x1-target").await;
    assert_eq!(data["access_token"], minted.access_token);
    assert_eq!(data["token_type"], "Bearer");
    assert_eq!(data["issued_at"], minted.issued_at.to_string());
    assert_eq!(data["expires_at"], minted.expires_at.to_string());
    assert_eq!(data.len(), 4);
}

#[tokio::test]
async fn a_renewal_costs_at_most_four_requests_and_moves_no_condition() {
    let world = World::new("renewal").await;
    let operator = world.operator(OPERATOR, &[]).await;
    create(&world, "x", Reply::token().life(60), &json!({"renewBefore": "52s"})).await;
    let first = world.wait_ready("x").await;
    wait_events(&world, "x", &["TokenIssued"]).await;
    let uid = world.secret("x-target").await.unwrap().metadata.uid;
    let mut so_far = requests(&world, &operator).len();
    let mut events = vec!["TokenIssued"];
    let mut before = first.clone();
    for number in 1..=2 {
        events.push("TokenRenewed");
        let renewed = eventually("a renewal", DEADLINE, async || {
            let resource = world.get("x").await.ok_or("no resource")?;
            let news = resource["status"]["lastRenewedAt"] != before["status"]["lastRenewedAt"];
            if news { Ok(resource) } else { Err("the status is the old one") }
        })
        .await;
        wait_events(&world, "x", &events).await;
        let all = requests(&world, &operator);
        let spent = &all[so_far..];
        assert!(spent.len() <= 4, "renewal {number}: {spent:?}");
        so_far = all.len();
        assert_eq!(world.squadcast.count("rt-x"), number + 1);
        assert_eq!(renewed["status"]["conditions"], first["status"]["conditions"]);
        assert_eq!(renewed["status"]["observedGeneration"], first["status"]["observedGeneration"]);
        assert!(time(&renewed["status"]["expiresAt"]) > time(&before["status"]["expiresAt"]));
        before = renewed;
    }
    let target = world.secret("x-target").await.unwrap();
    assert_eq!(target.metadata.uid, uid, "patched, not created anew");
    let minted = world.squadcast.minted("rt-x");
    assert_eq!(world.secret_data("x-target").await["access_token"], minted[2].access_token);
}

#[tokio::test]
async fn a_restart_costs_no_exchange_no_write_and_at_most_two_reads() {
    let world = World::new("restart").await;
    let mut operator = world.operator(OPERATOR, &[]).await;
    full_cycle(&world, "x").await;
    for (well, signal) in [(1, "TERM"), (2, "KILL")] {
        operator.signal(signal);
        operator.wait_exit(DEADLINE).await;
        let before = (world.get("x").await, version(&world, "x-target").await);
        operator = world.operator(OPERATOR, &[]).await;
        full_cycle(&world, &signal.to_lowercase()).await;

        let all = world.requests_of(&operator);
        let of_x = all.iter().filter(|request| request.name.starts_with('x')).count();
        assert!(of_x <= 2, "SIG{signal}: {all:?}");
        // What is left after the new resource's share.
        let mut rest = counted(&world, &all);
        for what in FIRST_ISSUE {
            let at = rest.iter().position(|one| one == what).unwrap_or_else(|| panic!("no {what}: {all:?}"));
            rest.swap_remove(at);
        }
        assert!(rest.len() <= 2 * well && rest.iter().all(|what| what == "get secrets"), "{rest:?}");
        assert_eq!((world.get("x").await, version(&world, "x-target").await), before, "SIG{signal}");
        assert_eq!(world.squadcast.count("rt-x"), 1);
        assert_eq!(world.event_reasons("x").await, ["TokenIssued"]);
    }
}

/// The status as it was but for what only the operator's memory could tell.
async fn status_is_back(world: &World, name: &str, before: &Value) {
    eventually(&format!("the status of {name} to be back"), DEADLINE, async || {
        let status = world.get(name).await.ok_or("no resource")?["status"].clone();
        let same = ["issuedAt", "expiresAt", "renewAt", "targetName"]
            .iter()
            .all(|field| status[field] == before["status"][field] && status[field].is_string());
        let ready = condition(&json!({ "status": status }), "Ready").is_some_and(|c| c["status"] == "True");
        if same && ready { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn a_status_that_was_lost_comes_back_without_an_exchange() {
    let world = World::new("lost").await;
    let operator = world.operator(OPERATOR, &[]).await;
    let before = full_cycle(&world, "x").await;
    let written = version(&world, "x-target").await;
    let lose = async || {
        let patch = Patch::Merge(json!({"status": null}));
        let lost = world.credentials().patch_status("x", &PatchParams::default(), &patch).await.unwrap();
        assert!(lost.data["status"].get("conditions").is_none(), "{}", lost.data);
    };

    lose().await;
    status_is_back(&world, "x", &before).await;

    operator.kill();
    lose().await;
    let _operator = world.operator(OPERATOR, &[]).await;
    status_is_back(&world, "x", &before).await;

    full_cycle(&world, "other").await;
    assert_eq!(world.squadcast.count("rt-x"), 1);
    assert_eq!(version(&world, "x-target").await, written);
}

#[tokio::test]
async fn a_resource_made_anew_takes_over_a_healthy_secret_without_an_exchange() {
    let world = World::new("anew").await;
    let _operator = world.operator(OPERATOR, &[]).await;
    for (policy, propagation) in
        [("Orphan", PropagationPolicy::Background), ("Owner", PropagationPolicy::Orphan)]
    {
        let name = policy.to_lowercase();
        let (_, target, refresh_token) = names(&name);
        let more = json!({ "creationPolicy": policy });
        create(&world, &name, Reply::token(), &more).await;
        let before = world.wait_ready(&name).await;
        let secret = world.secret(&target).await.unwrap();

        let params = DeleteParams { propagation_policy: Some(propagation), ..DeleteParams::default() };
        world.credentials().delete(&name, &params).await.unwrap();
        eventually("the resource to be gone", DEADLINE, async || world.get(&name).await.is_none()).await;
        let again = world.apply(&name, spec(&name, &more)).await;
        assert_ne!(again["metadata"]["uid"], before["metadata"]["uid"]);
        status_is_back(&world, &name, &before).await;

        eventually("its controller reference", DEADLINE, async || {
            let owners = world.secret(&target).await.unwrap().metadata.owner_references.unwrap_or_default();
            let uids: Vec<_> = owners.iter().map(|owner| owner.uid.clone()).collect();
            let wanted: &[&str] =
                if policy == "Owner" { &[again["metadata"]["uid"].as_str().unwrap()] } else { &[] };
            unless(uids == wanted, uids)
        })
        .await;
        let after = world.secret(&target).await.unwrap();
        assert_eq!((after.metadata.uid, after.data), (secret.metadata.uid, secret.data), "{policy}");
        assert_eq!(world.squadcast.count(&refresh_token), 1, "{policy}");
    }
}

#[tokio::test]
async fn renewal_is_due_when_the_spec_says_and_spread_by_the_refresh_token() {
    let world = World::new("when").await;
    let hour = 3600;
    for (name, more) in [
        ("plain", json!({})),
        ("before", json!({"renewBefore": "12h"})),
        ("minutes", json!({"renewBefore": "1h30m"})),
        ("share", json!({"renewBeforePercentage": 25})),
        ("most", json!({"renewBeforePercentage": 99})),
    ] {
        create(&world, name, Reply::token(), &more).await;
    }
    for number in 0..6 {
        create(&world, &format!("s{number}"), Reply::token(), &json!({})).await;
    }
    // A second one with the refresh token of the first.
    world.put_secret("twin-source", &[("refresh_token", "rt-s0")]).await;
    world.apply("twin", spec("twin", &json!({}))).await;

    let _operator = world.operator(OPERATOR, &[]).await;
    for (name, base) in [
        ("plain", 32 * hour),
        ("before", 36 * hour),
        ("minutes", 48 * hour - 5400),
        ("share", 36 * hour),
        ("most", 48 * hour / 100),
    ] {
        let resource = world.wait_ready(name).await;
        assert_eq!(seconds(&resource, "issuedAt", "expiresAt"), 48 * hour);
        renews_after(&resource, base);
    }
    let mut offsets = Vec::new();
    for number in 0..6 {
        let resource = world.wait_ready(&format!("s{number}")).await;
        renews_after(&resource, 32 * hour);
        offsets.push(seconds(&resource, "issuedAt", "renewAt"));
    }
    let twin = world.wait_ready("twin").await;
    assert_eq!(seconds(&twin, "issuedAt", "renewAt"), offsets[0], "one refresh token, one share");
    let spread = offsets.iter().max().unwrap() - offsets.iter().min().unwrap();
    assert!(spread > hour / 2, "{offsets:?}");
}

#[tokio::test]
async fn a_renew_before_that_is_not_shorter_than_the_life_is_warned_of_once() {
    let world = World::new("long").await;
    let _operator = world.operator(OPERATOR, &[]).await;
    create(&world, "x", Reply::token().life(3600), &json!({"renewBefore": "1h"})).await;
    let resource = world.wait_ready("x").await;
    renews_after(&resource, 2400);
    let warnings = async || {
        let events = world.events("x").await;
        events.into_iter().filter(|event| event.type_.as_deref() == Some("Warning")).collect::<Vec<_>>()
    };
    let warning = eventually("a warning", DEADLINE, async || warnings().await.pop()).await;
    assert!(warning.note.clone().unwrap().contains("renewBefore"), "{warning:?}");

    let request = json!({"metadata": {"annotations": {"credentials.squadcast.com/renew-requested-at": "1"}}});
    world.patch("x", request).await;
    eventually("the request to be handled", DEADLINE, async || {
        let status = world.get("x").await.unwrap()["status"].clone();
        unless(status["lastHandledRenewRequest"] == "1", status)
    })
    .await;
    eventually("the renewal's event", DEADLINE, async || {
        world.event_reasons("x").await.iter().any(|reason| reason == "TokenRenewed")
    })
    .await;
    full_cycle(&world, "other").await;
    assert_eq!(warnings().await.len(), 1);
}

#[tokio::test]
async fn ready_turns_false_when_the_token_expires_and_not_before() {
    let world = World::new("expiry").await;
    let _operator = world.operator(OPERATOR, &[]).await;
    // A rejection is tried again after a minute, so that nothing but expiry itself is due at expiry.
    for (name, error, reason) in [("no", 400, "RequestRejected"), ("down", 503, "ServiceUnavailable")] {
        let answers = Script::first([Reply::token().life(20)]).then(Reply::error(error));
        create(&world, name, answers, &json!({})).await;
        let ready = world.wait_ready(name).await;
        assert_eq!(seconds(&ready, "issuedAt", "expiresAt"), 20, "{reason}");
    }
    for (name, reason) in [("no", "RequestRejected"), ("down", "ServiceUnavailable")] {
        let failing = world.wait_for(name, "Synced", "False", reason).await;
        let expired = world.wait_for(name, "Ready", "False", reason).await;
        let end = time(&failing["status"]["expiresAt"]);
        let turned = time(&condition(&expired, "Ready").unwrap()["lastTransitionTime"]);
        let late = turned.as_second() - end.as_second();
        assert!((0..15).contains(&late), "{name}: {late} s after expiry: {}", expired["status"]);
        let failed = time(&condition(&expired, "Synced").unwrap()["lastTransitionTime"]);
        assert!(failed <= turned, "{name}: {}", expired["status"]);
        assert_eq!(expired["status"]["expiresAt"], failing["status"]["expiresAt"]);
        // The Secret stays as it was.
        let minted = world.squadcast.minted(&names(name).2);
        let data = world.secret_data(&names(name).1).await;
        assert_eq!(data["access_token"], minted[0].access_token);
    }
}

#[tokio::test]
async fn the_observed_generation_is_minus_one_until_somebody_has_looked() {
    let world = World::new("generation").await;
    create(&world, "x", Reply::token(), &json!({})).await;
    assert_eq!(world.get("x").await.unwrap()["status"], json!({"observedGeneration": -1}));
    let _operator = world.operator(OPERATOR, &[]).await;
    let resource = world.wait_ready("x").await;
    let of = |resource: &Value| {
        let status = &resource["status"];
        let conditions = status["conditions"].as_array().unwrap();
        let of_conditions = conditions.iter().map(|c| c["observedGeneration"].as_i64().unwrap());
        let mut all = vec![status["observedGeneration"].as_i64().unwrap()];
        all.extend(of_conditions);
        all
    };
    assert_eq!(of(&resource), [1, 1, 1]);

    world.patch("x", json!({"spec": {"renewBefore": "1h"}})).await;
    let changed = eventually("the new generation", DEADLINE, async || {
        let resource = world.get("x").await.unwrap();
        if resource["status"]["observedGeneration"] == 2 {
            Ok(resource)
        } else {
            Err(resource["status"].to_string())
        }
    })
    .await;
    assert_eq!(of(&changed), [2, 2, 2]);
    renews_after(&changed, 47 * 3600);
    let transition = |resource| condition(resource, "Ready").unwrap()["lastTransitionTime"].clone();
    assert_eq!(transition(&changed), transition(&resource));
    assert_eq!(world.squadcast.count("rt-x"), 1);
}

/// The repository's definition with a schema that takes anything, as an older or newer one might.
fn lax_definition() -> String {
    let yaml = std::fs::read_to_string(definition_file()).unwrap();
    let mut definition: CustomResourceDefinition = serde_saphyr::from_str(&yaml).unwrap();
    let anything = || JSONSchemaProps {
        type_: Some("object".to_owned()),
        x_kubernetes_preserve_unknown_fields: Some(true),
        ..JSONSchemaProps::default()
    };
    for version in &mut definition.spec.versions {
        version.selectable_fields = None;
        version.schema.as_mut().unwrap().open_api_v3_schema = Some(anything());
    }
    serde_json::to_string(&definition).unwrap()
}

#[tokio::test]
async fn an_object_that_does_not_decode_stops_only_itself() {
    let options = Options { definitions: vec![lax_definition()], ..Options::default() };
    let plane = Arc::new(ControlPlane::start_with(&options));
    let world = World::bare(&plane, "undecodable").await;
    let other_shape = json!({"region": REGION, "target": 5});
    world.apply("shape", other_shape).await;
    let operator = world.operator(OPERATOR, &[]).await;
    let undecodable = async |count: f64| {
        eventually(&format!("{count} undecodable objects"), DEADLINE, async || {
            let seen = operator.metric("squadcast_undecodable_objects");
            unless(seen.is_some_and(|seen| (seen - count).abs() < 0.5), seen)
        })
        .await;
    };
    undecodable(1.0).await;
    full_cycle(&world, "good").await;

    create(&world, "text", Reply::token(), &json!({"renewBefore": "tomorrow"})).await;
    undecodable(2.0).await;
    world.patch("good", json!({"spec": {"target": {"creationPolicy": "Sometimes"}}})).await;
    undecodable(3.0).await;
    full_cycle(&world, "other").await;
    for name in ["shape", "text", "good"] {
        let line = operator.log_lines().into_iter().find(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            line["level"] == "ERROR" && line["name"] == name && line["namespace"] == world.namespace
        });
        assert!(line.is_some(), "no line about {name}: {}", operator.log());
    }
    assert_eq!(world.squadcast.count("rt-text"), 0);
    assert!(world.secret("good-target").await.is_some());
    assert!(world.get("text").await.unwrap().get("status").is_none());

    // Corrected, they are resources like any other.
    world.patch("text", json!({"spec": {"renewBefore": "1h"}})).await;
    world.wait_ready("text").await;
    world.patch("good", json!({"spec": {"target": {"creationPolicy": "Owner"}}})).await;
    undecodable(1.0).await;
    world.delete("shape").await;
    undecodable(0.0).await;
    full_cycle(&world, "last").await;
    assert_eq!(world.squadcast.count("rt-good"), 1);
}
