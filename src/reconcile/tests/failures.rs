//! Failures: how they are counted, what is tried again, and what a rejection says of the token that is held.

use super::*;

#[test]
fn a_rejection_says_nothing_of_a_token_that_was_written_since() {
    let renewal = Scene::healthy().status.renew_at.unwrap();
    let revoked = Scene::healthy()
        .with(|s| s.now = renewal)
        .fails(Reason::RefreshTokenRejected)
        .next_attempt()
        .fails(Reason::RefreshTokenRejected)
        .with(|s| s.refresh_token = "new");
    assert_eq!(revoked.decides(), Decision::Exchange(Why::Rejected));
    // The process ended between the write of the target and that of the status.
    let replaced = revoked.with(|s| {
        let issued = s.now.as_second();
        s.target = Some(written_of(&credential(&s.object), "new", (issued, issued + LIFE), 0));
    });
    assert!(matches!(replaced.decides(), Decision::Fine { .. }), "{:?}", replaced.decides());
    let status = replaced.reported(&Acted::Nothing).status;
    assert_eq!(status.reason(ConditionType::Ready), Some(Reason::TokenValid));
}

#[test]
fn each_refresh_token_has_failures_of_its_own() {
    let renewal = Scene::healthy().status.renew_at.unwrap();
    let failing = Scene::healthy()
        .with(|s| s.now = renewal)
        .fails(Reason::ServiceUnavailable)
        .next_attempt()
        .fails(Reason::ServiceUnavailable)
        .next_attempt()
        .fails(Reason::ServiceUnavailable);
    assert_eq!(failing.status.failures, Some(3));
    let another = failing.with(|s| s.refresh_token = "other").fails(Reason::ServiceUnavailable);
    assert_eq!(another.status.failures, Some(1));
    let wait = another.status.next_attempt_at.unwrap().duration_since(another.now).as_secs();
    assert!((4..=6).contains(&wait), "{wait}");
}

#[test]
fn a_token_that_was_written_although_the_answer_was_lost_is_kept() {
    let renewal = Scene::healthy().status.renew_at.unwrap();
    let due = || Scene::healthy().with(|s| s.now = renewal).fails(Reason::WriteFailed).next_attempt();
    assert_eq!(due().decides(), Decision::Exchange(Why::Due), "it was not written");
    let written = due().with(|s| {
        let issued = renewal.as_second();
        s.target = Some(written_of(&credential(&s.object), "rt", (issued, issued + LIFE), 0));
    });
    assert!(matches!(written.decides(), Decision::Fine { .. }), "{:?}", written.decides());
}

#[test]
fn a_request_is_answered_by_no_token_that_was_got_before_it() {
    let renewal = Scene::healthy().status.renew_at.unwrap();
    let kept = |request: Option<&str>| {
        Scene::healthy().with(|s| s.now = renewal).fails(Reason::WriteFailed).with(|s| {
            s.memory.pending = Some(Pending {
                grant: Arc::new(grant(renewal.as_second(), LIFE, 0)),
                fingerprint: token("rt").fingerprint("us"),
                request: request.map(Into::into),
                duty: None,
                tell_rotation: false,
            });
        })
    };
    assert_eq!(kept(None).next_attempt().decides(), Decision::WritePending);
    for (got_for, decision) in [
        (None, Decision::Exchange(Why::Requested)),
        (Some("an earlier one"), Decision::Exchange(Why::Requested)),
        (Some("this one"), Decision::WritePending),
    ] {
        let asked = kept(got_for).with(|s| {
            s.object["metadata"]["annotations"] = json!({ names::ANNOTATION_RENEW: "this one" });
        });
        assert_eq!(asked.decides(), decision, "{got_for:?}");
    }
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
