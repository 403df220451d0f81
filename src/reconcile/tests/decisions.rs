//! What is decided, and what stands in the way of it.

use jiff::SignedDuration;
use proptest::{collection::vec, option::of, prelude::*};

use super::*;

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

proptest! {
    #[test]
    fn what_is_forgotten_decides_nothing(
        repairs in vec(-4_000_000..4_000_000i64, 0..6), rewrites in vec(-4_000_000..4_000_000i64, 0..6),
        granted in of(-90_000..90_000i64), edited in any::<bool>(),
    ) {
        let patch = if edited { json!({}) } else { json!({ "metadata": { "labels": null } }) };
        let mut scene = Scene::healthy().secret(&patch).with(|s| {
            let from_now = |ms: i64| s.now + SignedDuration::from_millis(ms);
            s.content = edited.then(|| Content { immutable: false, ours: false, keys: BTreeSet::new() });
            s.memory.repairs = repairs.into_iter().map(from_now).collect();
            s.memory.rewrites = rewrites.into_iter().map(from_now).collect();
            s.memory.last_grant = granted.map(from_now);
        });
        let before = scene.decides();
        scene.memory.forget_old(scene.now);
        prop_assert_eq!(scene.decides(), before);
    }
}
