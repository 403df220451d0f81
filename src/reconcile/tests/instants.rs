//! When a resource is looked at again, and that no answer of Squadcast's makes it ask in a hot loop.

use super::*;
use crate::{
    reconcile::Issued,
    schedule::{BETWEEN_EXCHANGES, seconds_between},
};

impl Scene {
    /// Goes through an exchange that is answered with a token from `issued` on.
    fn exchanges(mut self, issued: i64, life: i64, skew: i64) -> Self {
        assert!(matches!(self.decides(), Decision::Exchange(_)), "{:?}", self.decides());
        let before = self.status.expires_at;
        let credential = credential(&self.object);
        let secret = written_of(&credential, self.refresh_token, (issued + skew, issued + life + skew), skew);
        let acted = Acted::Issued(Box::new(Issued {
            target: serde_json::from_value(secret.clone()).unwrap(),
            grant: Arc::new(grant(issued, life, skew)),
            later: self.target.is_none() || before.is_none_or(|before| at(issued + life) > before),
            rotated: false,
            source: None,
        }));
        self.status = self.reported(&acted).status;
        self.target = Some(secret);
        self
    }

    /// Lets time pass to the next instant at which the operator looks by itself, and reports there.
    fn wakes(mut self) -> Self {
        let wake = self.reported(&Acted::Nothing).wake.unwrap();
        assert!(wake > self.now, "{wake} is not after {}", self.now);
        self.now = wake;
        self
    }

    /// What another process starts with: the status and the Secret.
    fn restarted(self) -> Self {
        self.with(|s| s.memory = Memory::default())
    }

    fn renews_at(&self) -> i64 {
        self.status.renew_at.unwrap().as_second()
    }
}

#[test]
fn a_target_that_no_watch_shows_is_looked_at_every_ten_minutes() {
    let labels = json!({ "metadata": { "labels": null } });
    for (scene, wakes) in [
        (Scene::healthy(), None),
        (Scene::healthy().with(|s| s.by_label = true), None),
        (Scene::healthy().secret(&labels).with(|s| s.by_label = true), Some(600)),
        (
            Scene::healthy().spec(&json!({ "suspend": true })).secret(&labels).with(|s| s.by_label = true),
            Some(600),
        ),
    ] {
        let wake = seconds_between(scene.now, scene.reported(&Acted::Nothing).wake.unwrap());
        assert!(wakes.map_or(wake > 3600, |wakes| wake == wakes), "{wake}");
    }
    // One that was created is labelled, and watched from then on.
    let created =
        Scene::fresh().with(|s| (s.by_label, s.now) = (true, at(ISSUED))).exchanges(ISSUED, LIFE, 0);
    assert_eq!(created.reported(&Acted::Nothing).wake, created.status.renew_at);
}

#[test]
fn who_waits_for_a_person_is_looked_at_again_after_ten_minutes() {
    let foreign = json!({ "metadata": { "ownerReferences": null, "labels": null, "annotations": null } });
    let invalid = Source::Invalid(crate::squadcast::InvalidRefreshToken::Empty, None);
    for scene in [
        Scene::fresh().with(|s| s.source = Some(Source::Missing)),
        Scene::fresh().with(|s| s.source = Some(Source::NotAllowed(None))),
        Scene::fresh().with(|s| s.source = Some(Source::KeyMissing(Vec::new(), None))),
        Scene::fresh().with(|s| s.source = Some(invalid)),
        Scene::fresh().spec(&json!({ "region": "mars" })),
        Scene::fresh().spec(&json!({ "target": { "creationPolicy": "Merge" } })),
        Scene::fresh().spec(&json!({ "target": { "template": { "t": "{{ nothing }}" } } })),
        Scene::fresh().with(|s| s.rival = Some("other")),
        Scene::healthy().secret(&foreign).with(|s| s.status = SquadcastCredentialStatus::default()),
    ] {
        let report = scene.reported(&Acted::Nothing);
        let reason = report.status.reason(ConditionType::Synced).unwrap();
        assert!(matches!(scene.decides(), Decision::Blocked(_)), "{reason}");
        assert_eq!(seconds_between(scene.now, report.wake.unwrap()), 600, "{reason}");
        // Nothing new is written or told then, however often.
        let then = scene.with(|s| {
            s.status = report.status.clone();
            s.now = report.wake.unwrap();
        });
        let again = then.reported(&Acted::Nothing);
        assert_eq!((again.status, again.events), (report.status, Vec::new()), "{reason}");
    }
}

#[test]
fn a_rejection_is_tried_again_after_its_minute_and_not_before() {
    let renewal = Scene::healthy().status.renew_at.unwrap();
    let rejected = Scene::healthy().with(|s| s.now = renewal);
    let report = rejected.reported(&failed(Reason::RefreshTokenRejected));
    assert_eq!(report.wake.map(|wake| seconds_between(renewal, wake)), Some(60));
    let rejected = rejected.fails(Reason::RefreshTokenRejected).restarted();
    let after = |seconds: i64| {
        Scene { now: at(renewal.as_second() + seconds), ..Scene::healthy() }
            .with(|s| s.status = rejected.status.clone())
            .decides()
    };
    assert!(matches!(after(59), Decision::BackOff { .. }), "{:?}", after(59));
    assert_eq!(after(60), Decision::Exchange(Why::Retry));
}

#[test]
fn a_token_that_is_repeated_is_a_success_and_is_asked_for_again_after_half_of_the_rest() {
    let renewal = Scene::healthy().renews_at();
    let scene = Scene::healthy().with(|s| s.now = at(renewal)).exchanges(ISSUED, LIFE, 0);
    assert_eq!(scene.condition(ConditionType::Synced), Some((true, Reason::Synced)));
    assert_eq!(scene.condition(ConditionType::Ready), Some((true, Reason::TokenValid)));
    assert_eq!(scene.status.failures, None);
    let half = renewal + (ISSUED + LIFE - renewal) / 2;
    assert_eq!(scene.renews_at(), half);
    // A restart does not ask again, nor does a change of the spec that leaves the instant passed.
    let scene = scene.restarted().with(|s| s.now = at(renewal + 60));
    assert!(matches!(scene.decides(), Decision::Fine { .. }), "{:?}", scene.decides());
    let changed = scene.spec(&json!({ "target": { "creationPolicy": "Owner" } }));
    let Decision::Fine { renewal } = changed.decides() else { panic!("{:?}", changed.decides()) };
    assert_eq!(renewal.at, at(half));
}

#[test]
fn a_token_that_is_repeated_to_its_end_costs_few_exchanges() {
    for life in [60, 3600, LIFE] {
        let issue = ISSUED + LIFE;
        let mut scene = Scene::fresh().with(|s| s.now = at(issue)).exchanges(issue, life, 0);
        let (mut count, mut last) = (1, issue);
        while scene.now < at(issue + life) {
            scene = scene.wakes().restarted();
            if matches!(scene.decides(), Decision::Exchange(_)) && scene.now < at(issue + life) {
                let now = scene.now.as_second();
                assert!(now - last >= BETWEEN_EXCHANGES, "{life}: {} s apart", now - last);
                scene = scene.exchanges(issue, life, 0);
                (count, last) = (count + 1, now);
            }
            assert!(count < 25, "{life}: {count} exchanges");
        }
        assert!(count > 2, "{life}: {count} exchanges");
        // Expired, it is due whatever it was answered with before.
        assert_eq!(scene.with(|s| s.now = at(issue + life + 60)).decides(), Decision::Exchange(Why::Due));
    }
}

#[test]
fn a_renew_before_just_short_of_the_life_makes_no_hot_loop() {
    for short in [1, 2, 5, 6] {
        let wish = json!({ "renewBefore": format!("{}s", LIFE - short) });
        let mut now = ISSUED + LIFE;
        let mut scene = Scene::fresh().spec(&wish).with(|s| s.now = at(now)).exchanges(now, LIFE, 0);
        for _ in 0..5 {
            while !matches!(scene.decides(), Decision::Exchange(_)) {
                scene = scene.wakes();
            }
            let apart = scene.now.as_second() - now;
            assert!((BETWEEN_EXCHANGES..=BETWEEN_EXCHANGES + short).contains(&apart), "{short}: {apart} s");
            now = scene.now.as_second();
            scene = scene.exchanges(now, LIFE, 0);
        }
    }
}

#[test]
fn clocks_that_differ_by_hours_move_neither_renewal_nor_expiry() {
    let issue = ISSUED + LIFE;
    let same = Scene::fresh().with(|s| s.now = at(issue)).exchanges(issue, LIFE, 0);
    for skew in [-7200, -6, 6, 7200, 86_400 * 300] {
        let scene = Scene::fresh().with(|s| s.now = at(issue)).exchanges(issue, LIFE, skew);
        assert_eq!(scene.status, same.status, "{skew}: the status is by our clock");
        // Another process, with nothing but the Secret, comes to the same.
        let scene = scene.restarted().with(|s| s.status = SquadcastCredentialStatus::default());
        let Decision::Fine { renewal } = scene.decides() else { panic!("{skew}: {:?}", scene.decides()) };
        assert_eq!(renewal.at, at(same.renews_at()), "{skew}");
        let due = scene.with(|s| s.now = renewal.at);
        assert_eq!(due.decides(), Decision::Exchange(Why::Due), "{skew}");
    }
}

#[test]
fn a_clock_that_is_set_back_or_forward_holds_nothing_up() {
    // Forward past the renewal, past the expiry: due at once. Back before the issue: still good, still due.
    let scene = || Scene::healthy().with(|s| s.status.last_renewed_at = Some(at(ISSUED)));
    for (now, due) in [(ISSUED - 86_400, false), (ISSUED + LIFE - 1, true), (ISSUED + 10 * LIFE, true)] {
        let decision = scene().with(|s| s.now = at(now)).decides();
        assert_eq!(decision == Decision::Exchange(Why::Due), due, "{now}: {decision:?}");
    }
}

#[test]
fn messages_of_true_conditions_hold_no_times() {
    let report = Scene::healthy().reported(&Acted::Nothing);
    for type_ in [ConditionType::Ready, ConditionType::Synced] {
        let condition = report.status.condition(type_).unwrap();
        assert!(condition.is_true());
        assert!(!condition.message.contains(|c: char| c.is_ascii_digit()), "{}", condition.message);
    }
}
