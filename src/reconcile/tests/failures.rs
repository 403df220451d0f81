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
