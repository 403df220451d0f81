//! Decide and report as tables: a case is built from what differs from a healthy one.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{
    Acted, Aftermath, Blocked, Case, Content, Credential, Decision, FoundToken, Input, Known, Leftover,
    Memory, Observation, Pending, Report, Source, Target, Trouble, Why, decide, report,
};
use crate::{
    api::{
        ConditionType, Reason, RefreshTokenRotation, SquadcastCredential, SquadcastCredentialStatus, names,
    },
    schedule::whole_seconds,
    secret::{Desired, SecretFacts, SecretMeta, TokenNotes, create, render, template_hash},
    squadcast::{AccessToken, Grant, RefreshToken, Regions},
};

mod failures;
mod instants;
mod messages;
mod walks;

const LIFE: i64 = 172_800;
const ISSUED: i64 = 1_700_000_000;
const UID: &str = "11111111-1111-1111-1111-111111111111";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A resource, its surroundings and its past; starts healthy, halfway to its renewal.
struct Scene {
    object: Value,
    refresh_token: &'static str,
    source: Option<Source>,
    by_label: bool,
    target: Option<Value>,
    content: Option<Content>,
    status: SquadcastCredentialStatus,
    rival: Option<&'static str>,
    memory: Memory,
    regions: Regions,
    now: Timestamp,
}

fn object() -> Value {
    json!({
        "apiVersion": names::API_VERSION,
        "kind": names::KIND,
        "metadata": {
            "name": "api", "namespace": "team", "uid": UID, "resourceVersion": "10", "generation": 1,
            "creationTimestamp": "2023-01-01T00:00:00Z",
        },
        "spec": { "refreshTokenSecretRef": { "name": "source" }, "target": { "name": "token" } },
    })
}

fn credential(object: &Value) -> Credential {
    serde_json::from_value::<SquadcastCredential>(object.clone()).unwrap().into()
}

fn token(text: &str) -> RefreshToken {
    RefreshToken::parse(text.as_bytes()).unwrap()
}

/// The Secret as the API server would return it after the operator has created it.
fn written(credential: &Credential, refresh_token: &str) -> Value {
    written_of(credential, refresh_token, (ISSUED, ISSUED + LIFE), 0)
}

/// The same with these times of issue and expiry, by a clock that is ahead of ours by `skew`.
fn written_of(
    credential: &Credential,
    refresh_token: &str,
    (issued_at, expires_at): (i64, i64),
    skew: i64,
) -> Value {
    let spec = &credential.spec;
    let data = render::render(
        spec.target.template.as_ref(),
        &render::Inputs {
            access_token: "access",
            token_type: "Bearer",
            issued_at,
            expires_at,
            region: &spec.region,
            api_url: "https://api.squadcast.com",
        },
    )
    .unwrap();
    let notes = TokenNotes {
        issued_at,
        expires_at,
        fingerprint: token(refresh_token).fingerprint(&spec.region),
        skew,
        template_hash: template_hash(
            &spec.region,
            "https://api.squadcast.com",
            spec.target.template.as_ref(),
        ),
    };
    let desired =
        Desired { credential: &credential.key.name, credential_uid: &credential.uid, target: &spec.target };
    let mut body = create(desired, &data, &notes);
    let fields: serde_json::Map<String, Value> = data.keys().map(|k| (format!("f:{k}"), json!({}))).collect();
    body["metadata"]["namespace"] = "team".into();
    body["metadata"]["uid"] = "22222222-2222-2222-2222-222222222222".into();
    body["metadata"]["resourceVersion"] = "11".into();
    body["metadata"]["managedFields"] = json!([{
        "manager": names::FIELD_MANAGER, "operation": "Update", "fieldsV1": { "f:data": fields },
    }]);
    body
}

impl Scene {
    fn healthy() -> Self {
        let object = object();
        let target = written(&credential(&object), "rt");
        let mut scene = Self {
            object,
            refresh_token: "rt",
            source: None,
            by_label: false,
            target: Some(target),
            content: None,
            status: SquadcastCredentialStatus::default(),
            rival: None,
            memory: Memory::default(),
            regions: Regions::default(),
            now: at(ISSUED + LIFE / 3),
        };
        let report = scene.reported(&Acted::Nothing);
        scene.status = report.status;
        scene.status.last_renewed_at = Some(at(ISSUED));
        scene.status.last_attempt_fingerprint = Some(token("rt").fingerprint("us").to_string());
        scene
    }

    /// A resource that nobody has looked at yet.
    fn fresh() -> Self {
        let status = SquadcastCredentialStatus { observed_generation: Some(-1), ..Default::default() };
        Self { target: None, status, ..Self::healthy() }
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Changes the spec as a user does.
    fn spec(self, patch: &Value) -> Self {
        self.with(|s| {
            merge(&mut s.object["spec"], patch);
            s.object["metadata"]["generation"] = 2.into();
        })
    }

    /// Changes the target as somebody else does.
    fn secret(self, patch: &Value) -> Self {
        self.with(|s| merge(s.target.as_mut().unwrap(), patch))
    }

    fn look<T>(&self, f: impl FnOnce(&Case<'_>) -> T) -> T {
        let credential = credential(&self.object);
        let found = token(self.refresh_token);
        let source = match &self.source {
            None => Source::Found(FoundToken {
                fingerprint: found.fingerprint(&credential.spec.region),
                token: found,
                immutable: false,
                raw: Zeroizing::new(self.refresh_token.into()),
                facts: Arc::new(facts(&json!({ "metadata": { "name": "source" } }))),
            }),
            Some(Source::Missing) => Source::Missing,
            Some(Source::KeyMissing(keys, _)) => Source::KeyMissing(keys.clone(), None),
            Some(Source::Invalid(error, _)) => Source::Invalid(*error, None),
            Some(_) => Source::NotAllowed(None),
        };
        let target = self.target.as_ref().map_or(Target::Absent, |target| Target::Present {
            facts: Arc::new(facts(target)),
            content: self.content.as_ref().map(|c| Content {
                immutable: c.immutable,
                ours: c.ours,
                keys: c.keys.clone(),
            }),
        });
        let input = Input {
            source: Known::Present,
            target: Known::Present,
            rival: self.rival.map(Into::into),
            holder_leaves: false,
            writes_back: credential.spec.refresh_token_rotation == RefreshTokenRotation::WriteBack,
            former_targets: Vec::new(),
            credential: Arc::new(credential),
        };
        f(&Case {
            input: &input,
            history: &self.status,
            regions: &self.regions,
            seen: &Observation { source, target, by_label: self.by_label },
            memory: &self.memory,
        })
    }

    fn decides(&self) -> Decision {
        self.look(|case| decide(case, self.now))
    }

    fn reported(&self, acted: &Acted) -> Report {
        self.look(|case| report(case, &decide(case, self.now), acted, &Aftermath::default(), self.now))
    }

    fn is_blocked(&self, reason: Reason, stalled: bool) {
        match self.decides() {
            Decision::Blocked(Blocked { reason: r, stalled: s, message }) => {
                assert_eq!((r, s), (reason, stalled), "{message}");
                assert!(message.len() > 20, "{message}");
            }
            other => panic!("{other:?}"),
        }
    }

    /// Goes through a failed attempt.
    fn fails(mut self, reason: Reason) -> Self {
        assert!(matches!(self.decides(), Decision::Exchange(_)), "{:?}", self.decides());
        self.status = self.reported(&failed(reason)).status;
        self
    }

    /// Lets the time of the next attempt come.
    fn next_attempt(mut self) -> Self {
        self.now = self.status.next_attempt_at.unwrap();
        self
    }

    fn condition(&self, type_: ConditionType) -> Option<(bool, Reason)> {
        self.status.condition(type_).map(|c| (c.is_true(), c.reason().unwrap()))
    }
}

/// A token of Squadcast's from `issued`, by our clock, that lives so long.
fn grant(issued: i64, life: i64, skew: i64) -> Grant {
    Grant {
        access_token: AccessToken::parse("access").unwrap(),
        token_type: "Bearer".to_owned(),
        issued_at: issued + skew,
        expires_at: issued + life + skew,
        skew,
        rotated: None,
        requested_at: at(issued),
        received_at: at(issued),
    }
}

fn failed(reason: Reason) -> Acted {
    Acted::Failed(Trouble::new(reason, format!("it failed with {reason}")))
}

fn facts(object: &Value) -> SecretFacts {
    serde_json::from_value::<SecretMeta>(object.clone()).unwrap().facts
}

fn merge(into: &mut Value, patch: &Value) {
    match patch {
        Value::Object(patch) => {
            for (key, value) in patch {
                if value.is_null() {
                    into.as_object_mut().unwrap().remove(key);
                } else {
                    merge(&mut into[key.as_str()], value);
                }
            }
        }
        value => *into = value.clone(),
    }
}

#[test]
fn a_healthy_resource_needs_nothing_until_its_renewal() {
    let scene = Scene::healthy();
    let Decision::Fine { renewal } = scene.decides() else { panic!("{:?}", scene.decides()) };
    let report = scene.reported(&Acted::Nothing);
    assert_eq!(report.wake, Some(renewal.at));
    assert_eq!(report.status, scene.status, "nothing has changed, so nothing is written");
    assert!(report.events.is_empty());
}

#[test]
fn with_the_status_lost_the_secret_alone_tells() {
    let scene = Scene::healthy().with(|s| s.status = SquadcastCredentialStatus::default());
    assert!(matches!(scene.decides(), Decision::Fine { .. }));
}

#[test]
fn why_an_exchange_is_due() {
    let hour_later = |s: &mut Scene| s.now = at(ISSUED + LIFE / 3 + 3600);
    let renewal = Scene::healthy().status.renew_at.unwrap();
    for (what, scene, why) in [
        ("first sight", Scene::fresh(), Why::Missing),
        ("deleted", Scene::healthy().with(|s| s.target = None), Why::Missing),
        ("renewal", Scene::healthy().with(|s| s.now = renewal), Why::Due),
        ("expired", Scene::healthy().with(|s| s.now = at(ISSUED + LIFE)), Why::Due),
        ("another refresh token", Scene::healthy().with(|s| s.refresh_token = "other"), Why::SourceChanged),
        ("another region", Scene::healthy().spec(&json!({ "region": "eu" })), Why::SourceChanged),
        (
            "another template",
            Scene::healthy().spec(&json!({ "target": { "template": { "t": "{{ access_token }}" } } })),
            Why::TemplateChanged,
        ),
        (
            "edited",
            Scene::healthy().with(|s| {
                s.content = Some(Content { immutable: false, ours: false, keys: BTreeSet::new() });
            }),
            Why::Edited,
        ),
        (
            "asked for",
            Scene::healthy()
                .with(|s| s.object["metadata"]["annotations"] = json!({ names::ANNOTATION_RENEW: "now" })),
            Why::Requested,
        ),
        (
            "notes lost",
            Scene::healthy()
                .secret(&json!({ "metadata": { "annotations": { names::ANNOTATION_FINGERPRINT: null } } })),
            Why::NoToken,
        ),
    ] {
        assert_eq!(
            scene.with(hour_later_unless(what, hour_later)).decides(),
            Decision::Exchange(why),
            "{what}"
        );
    }
}

/// Moves the clock on, except for the cases that are about the clock.
fn hour_later_unless(what: &str, later: impl Fn(&mut Scene)) -> impl FnOnce(&mut Scene) {
    let about_time = matches!(what, "renewal" | "expired");
    move |s| {
        if !about_time {
            later(s);
        }
    }
}

#[test]
fn what_calls_for_no_exchange() {
    for (what, scene) in [
        ("labels", Scene::healthy().spec(&json!({ "target": { "labels": { "a": "b" } } }))),
        ("annotations", Scene::healthy().spec(&json!({ "target": { "annotations": { "a": "b" } } }))),
        ("policy", Scene::healthy().spec(&json!({ "target": { "creationPolicy": "Orphan" } }))),
        ("owner gone", Scene::healthy().secret(&json!({ "metadata": { "ownerReferences": null } }))),
        (
            "label gone",
            Scene::healthy().with(|s| {
                s.target.as_mut().unwrap()["metadata"]["labels"]
                    .as_object_mut()
                    .unwrap()
                    .remove(names::LABEL_MANAGED_BY);
            }),
        ),
    ] {
        assert!(matches!(scene.decides(), Decision::Rewrite { .. }), "{what}: {:?}", scene.decides());
    }
}

#[test]
fn what_stands_in_the_way() {
    let foreign = json!({ "metadata": {
        "ownerReferences": null, "labels": null, "annotations": null,
    } });
    let source = |source: Source| Scene::healthy().with(|s| s.source = Some(source));
    source(Source::Missing).is_blocked(Reason::RefreshTokenSecretNotFound, false);
    source(Source::NotAllowed(None)).is_blocked(Reason::RefreshTokenNotAllowed, false);
    source(Source::KeyMissing(vec!["token".into()], None)).is_blocked(Reason::RefreshTokenKeyNotFound, false);
    source(Source::Invalid(crate::squadcast::InvalidRefreshToken::Empty, None))
        .is_blocked(Reason::RefreshTokenInvalid, false);
    Scene::healthy().spec(&json!({ "region": "mars" })).is_blocked(Reason::UnknownRegion, true);
    Scene::healthy().with(|s| s.rival = Some("other")).is_blocked(Reason::TargetClaimed, true);
    Scene::healthy().secret(&foreign).is_blocked(Reason::TargetNotOwned, true);
    Scene::fresh()
        .spec(&json!({ "target": { "creationPolicy": "Merge" } }))
        .is_blocked(Reason::TargetNotFound, false);
    Scene::healthy()
        .secret(&foreign)
        .spec(&json!({ "target": { "creationPolicy": "Merge" } }))
        .is_blocked(Reason::MergeNotAllowed, true);
    Scene::healthy()
        .with(|s| s.content = Some(Content { immutable: true, ours: true, keys: BTreeSet::new() }))
        .is_blocked(Reason::TargetImmutable, true);
    Scene::healthy()
        .spec(&json!({ "target": { "template": { "t": "{{ nothing }}" } } }))
        .is_blocked(Reason::TemplateInvalid, true);
    let former = json!([{
        "apiVersion": names::API_VERSION, "kind": names::KIND, "name": "api", "uid": "gone", "controller": true,
    }]);
    Scene::healthy()
        .secret(&json!({ "metadata": { "ownerReferences": former } }))
        .is_blocked(Reason::TargetNotOwned, false);
}

#[test]
fn a_target_that_is_handed_over_or_left_behind_is_taken_over() {
    let by_annotation = Scene::healthy().secret(&json!({ "metadata": {
        "ownerReferences": null, "labels": null, "annotations": null,
    } }));
    let by_annotation = by_annotation
        .secret(&json!({ "metadata": { "annotations": { names::ANNOTATION_ALLOW_WRITE: "api" } } }));
    assert_eq!(by_annotation.decides(), Decision::Exchange(Why::NoToken));
    let restored = Scene::healthy()
        .secret(&json!({ "metadata": { "ownerReferences": null } }))
        .with(|s| s.status = SquadcastCredentialStatus::default());
    assert!(matches!(restored.decides(), Decision::Rewrite { .. }));
}

#[test]
fn suspended_and_deleted() {
    let suspended = Scene::fresh().spec(&json!({ "suspend": true }));
    assert_eq!(suspended.decides(), Decision::Suspended);
    let status = suspended.reported(&Acted::Nothing).status;
    assert_eq!(status.reason(ConditionType::Ready), Some(Reason::Suspended));
    let with_token = Scene::healthy().spec(&json!({ "suspend": true }));
    let report = with_token.reported(&Acted::Nothing);
    assert_eq!(report.status.reason(ConditionType::Ready), Some(Reason::TokenValid));
    assert_eq!(report.status.reason(ConditionType::Synced), Some(Reason::Suspended));
    assert_eq!(report.wake, report.status.expires_at, "expiry is still told");
    let deleted =
        Scene::fresh().with(|s| s.object["metadata"]["deletionTimestamp"] = "2024-01-01T00:00:00Z".into());
    assert_eq!(deleted.decides(), Decision::Nothing);
}

#[test]
fn two_exchanges_are_seconds_apart() {
    let scene = Scene::healthy().with(|s| {
        s.refresh_token = "other";
        s.status.last_renewed_at = Some(whole_seconds(s.now));
    });
    let Decision::TooSoon { until } = scene.decides() else { panic!("{:?}", scene.decides()) };
    assert_eq!(until.duration_since(scene.now).as_secs(), 6);
    // What was got before the clock was set back does not hide what was got after that.
    let scene = scene.with(|s| s.memory.last_grant = Some(at(ISSUED + LIFE)));
    assert_eq!(scene.decides(), Decision::TooSoon { until });
    let jumped_back = scene.with(|s| s.status.last_renewed_at = Some(at(ISSUED + LIFE)));
    assert_eq!(jumped_back.decides(), Decision::Exchange(Why::SourceChanged));
}

#[test]
fn a_transient_failure_keeps_ready_while_the_token_is_good() {
    let renewal = Scene::healthy().status.renew_at.unwrap();
    let scene = Scene::healthy().with(|s| s.now = renewal).fails(Reason::ServiceUnavailable);
    assert_eq!(scene.condition(ConditionType::Ready), Some((true, Reason::TokenValid)));
    assert_eq!(scene.condition(ConditionType::Synced), Some((false, Reason::ServiceUnavailable)));
    assert_eq!(scene.condition(ConditionType::Stalled), None);
    assert_eq!(scene.status.failures, Some(1));
    assert!(matches!(scene.decides(), Decision::BackOff { .. }));
    let again = scene.next_attempt();
    assert_eq!(again.decides(), Decision::Exchange(Why::Retry));
    let again = again.fails(Reason::Timeout);
    assert_eq!(again.status.failures, Some(2));
    let expired = again.with(|s| s.now = at(ISSUED + LIFE));
    let report = expired.reported(&failed(Reason::Timeout));
    assert_eq!(report.status.reason(ConditionType::Ready), Some(Reason::Timeout));
}

#[test]
fn ready_ends_at_the_moment_of_expiry_and_not_before() {
    let renewal = Scene::healthy().status.renew_at.unwrap();
    let scene = Scene::healthy().with(|s| s.now = renewal).fails(Reason::ServiceUnavailable);
    let before = scene.with(|s| {
        s.now = at(ISSUED + LIFE - 1);
        s.status.next_attempt_at = Some(at(ISSUED + LIFE + 60));
    });
    let report = before.reported(&Acted::Nothing);
    assert_eq!(report.status.reason(ConditionType::Ready), Some(Reason::TokenValid));
    assert_eq!(report.wake, Some(at(ISSUED + LIFE)), "not at the next attempt");
    let then = before.with(|s| s.now = at(ISSUED + LIFE));
    let report = then.reported(&Acted::Nothing);
    assert_eq!(report.status.reason(ConditionType::Ready), Some(Reason::ServiceUnavailable));
}

#[test]
fn a_rejection_is_confirmed_before_a_good_token_is_given_up() {
    for (reason, ends_ready) in [
        (Reason::RefreshTokenRejected, true),
        (Reason::RequestRejected, false),
        (Reason::PaymentRequired, false),
    ] {
        let renewal = Scene::healthy().status.renew_at.unwrap();
        let first = Scene::healthy().with(|s| s.now = renewal).fails(reason);
        assert_eq!(first.condition(ConditionType::Stalled), None, "{reason}");
        assert_eq!(first.condition(ConditionType::Ready), Some((true, Reason::TokenValid)));
        let wait = first.status.next_attempt_at.unwrap().duration_since(first.now).as_secs();
        assert_eq!(wait, 60);
        let second = first.next_attempt().fails(reason);
        assert_eq!(second.condition(ConditionType::Stalled), Some((true, reason)));
        let ready = second.condition(ConditionType::Ready);
        assert_eq!(ready, Some(if ends_ready { (false, reason) } else { (true, Reason::TokenValid) }));
        let wait = second.status.next_attempt_at.unwrap().duration_since(second.now).as_secs();
        assert!((300..=3600).contains(&wait), "{wait}");
    }
    let none_held = Scene::fresh().fails(Reason::RefreshTokenRejected);
    assert_eq!(none_held.condition(ConditionType::Stalled), Some((true, Reason::RefreshTokenRejected)));
    let wait = none_held.status.next_attempt_at.unwrap().duration_since(none_held.now).as_secs();
    assert_eq!(wait, 3600);
}

#[test]
fn a_revoked_token_stays_revoked_until_a_new_one_is_there() {
    let renewal = Scene::healthy().status.renew_at.unwrap();
    let revoked = || {
        Scene::healthy()
            .with(|s| s.now = renewal)
            .fails(Reason::RefreshTokenRejected)
            .next_attempt()
            .fails(Reason::RefreshTokenRejected)
    };
    let outage = revoked().next_attempt().fails(Reason::ServiceUnavailable);
    assert_eq!(outage.condition(ConditionType::Ready), Some((false, Reason::RefreshTokenRejected)));
    assert_eq!(outage.condition(ConditionType::Stalled), Some((true, Reason::RefreshTokenRejected)));
    let replaced = revoked().with(|s| s.refresh_token = "new");
    assert_eq!(replaced.decides(), Decision::Exchange(Why::Rejected), "a corrected source is tried at once");
    let wrong_too = replaced.fails(Reason::ServiceUnavailable);
    assert_eq!(wrong_too.condition(ConditionType::Ready), Some((false, Reason::RefreshTokenRejected)));
}

#[test]
fn another_refresh_token_that_is_rejected_says_nothing_of_the_one_held() {
    let scene = Scene::healthy()
        .with(|s| s.refresh_token = "wrong")
        .fails(Reason::RefreshTokenRejected)
        .next_attempt()
        .fails(Reason::RefreshTokenRejected);
    assert_eq!(scene.condition(ConditionType::Ready), Some((true, Reason::TokenValid)));
    assert_eq!(scene.condition(ConditionType::Stalled), Some((true, Reason::RefreshTokenRejected)));
    let restored = scene.with(|s| s.refresh_token = "rt");
    assert!(matches!(restored.decides(), Decision::Fine { .. }), "{:?}", restored.decides());
}

#[test]
fn a_renewal_asked_for_overrides_a_back_off_and_is_echoed_when_it_has_ended() {
    let renewal = Scene::healthy().status.renew_at.unwrap();
    let asked = Scene::healthy()
        .with(|s| s.now = renewal)
        .fails(Reason::ServiceUnavailable)
        .with(|s| s.object["metadata"]["annotations"] = json!({ names::ANNOTATION_RENEW: "one" }));
    assert_eq!(asked.decides(), Decision::Exchange(Why::Requested));
    let failed = asked.fails(Reason::Timeout);
    assert_eq!(failed.status.last_handled_renew_request.as_deref(), Some("one"));
    assert!(matches!(failed.decides(), Decision::BackOff { .. }), "what was due stays due");
}

#[test]
fn a_change_of_the_spec_ends_a_back_off() {
    let renewal = Scene::healthy().status.renew_at.unwrap();
    let scene = Scene::healthy()
        .with(|s| s.now = renewal)
        .fails(Reason::ServiceUnavailable)
        .spec(&json!({ "renewBeforePercentage": 20 }));
    assert_eq!(scene.decides(), Decision::Exchange(Why::Retry));
}

#[test]
fn the_third_repair_within_an_hour_waits() {
    let edited = Scene::healthy().with(|s| {
        s.content = Some(Content { immutable: false, ours: false, keys: BTreeSet::new() });
        s.memory.repairs = vec![at(s.now.as_second() - 100), at(s.now.as_second() - 1)];
    });
    let Decision::Contested { until } = edited.decides() else { panic!("{:?}", edited.decides()) };
    assert_eq!(until, at(edited.now.as_second() + 4));
    let status = edited.reported(&Acted::Nothing).status;
    assert_eq!(status.reason(ConditionType::Synced), Some(Reason::TargetContested));
}

/// A former target that could not be deleted seven times.
fn leftover(at_second: i64) -> Aftermath {
    let leftover = Leftover {
        trouble: Trouble::new(Reason::WriteFailed, "could not delete the former Secret".into()),
        failures: 7,
        at: at(at_second),
        until: at(at_second + 300),
    };
    Aftermath { leftover: Some(leftover), ..Aftermath::default() }
}

/// A healthy resource whose former target is still there.
fn with_leftover() -> Scene {
    let mut scene = Scene::healthy().with(|s| s.status.target_name = Some("former".into()));
    let report = scene.look(|case| {
        let decision = decide(case, scene.now);
        report(case, &decision, &Acted::Nothing, &leftover(scene.now.as_second()), scene.now)
    });
    scene.status = report.status;
    assert_eq!(scene.condition(ConditionType::Synced), Some((false, Reason::WriteFailed)));
    assert_eq!(scene.status.target_name.as_deref(), Some("former"));
    scene
}

#[test]
fn a_former_target_that_stays_counts_for_no_exchange_and_holds_up_no_repair() {
    let renewal = Scene::healthy().status.renew_at.unwrap();
    let failing = with_leftover().with(|s| s.now = renewal).fails(Reason::ServiceUnavailable);
    assert_eq!(failing.status.failures, Some(1));
    assert!(failing.status.next_attempt_at.unwrap().duration_since(renewal).as_secs() <= 6);
    // Also where another process looks, which knows no more than the status.
    let missing = with_leftover().with(|s| s.target = None);
    assert_eq!(missing.decides(), Decision::Exchange(Why::Missing));
}

#[test]
fn a_clock_that_is_set_back_lengthens_no_wait() {
    let renewal = Scene::healthy().status.renew_at.unwrap();
    let hours_before = at(renewal.as_second() - 36_000);
    let failing = Scene::healthy().with(|s| s.now = renewal).fails(Reason::ServiceUnavailable);
    let decision = failing.with(|s| s.now = hours_before).decides();
    assert!(!matches!(decision, Decision::BackOff { .. }), "{decision:?}");
    let fought = Scene::healthy().with(|s| {
        s.target = None;
        s.memory.repairs = (0..3).map(|n| at(renewal.as_second() + n)).collect();
        s.now = hours_before;
    });
    assert_eq!(fought.decides(), Decision::Exchange(Why::Missing));
}

#[test]
fn a_rename_is_no_repair() {
    let renamed = Scene::healthy().spec(&json!({ "target": { "name": "elsewhere" } })).with(|s| {
        s.target = None;
        s.memory.repairs = (0..6).map(|n| at(s.now.as_second() - 10 + n)).collect();
    });
    assert_eq!(renamed.decides(), Decision::Exchange(Why::Missing));
    assert!(!renamed.look(|case| Why::Missing.needs_new_answer(case.issued_here())));
}

#[test]
fn a_region_that_is_left_is_no_token() {
    let scene = Scene::healthy().spec(&json!({ "region": "eu" }));
    let status = scene.reported(&failed(Reason::ServiceUnavailable)).status;
    assert_eq!(status.reason(ConditionType::Ready), Some(Reason::ServiceUnavailable));
}
