//! Somebody sees nothing but `kubectl describe`: each message names what it speaks of and says what to do.

use kube::core::Status;

use super::*;
use crate::{
    reconcile::{
        Restarts,
        decide::render_problem,
        restart,
        trouble::{Refusal, refusal},
    },
    squadcast::{Body, InvalidRefreshToken, Reply, classify},
};

/// Words with which a part of a sentence tells somebody what to do, or that nothing need be done.
const INSTRUCTIONS: [&str; 18] = [
    "add",
    "annotate",
    "check",
    "choose",
    "correct",
    "create",
    "delete",
    "give",
    "grant",
    "remove",
    "replace",
    "see",
    "set",
    "shorten",
    "stop",
    "store",
    "the operator is about to",
    "wait",
];

/// What Squadcast's answer with this status makes of an attempt.
fn answered(status: u16, body: &str) -> Acted {
    let reply = Reply {
        status,
        content_type: Some("application/json".to_owned()),
        retry_after: None,
        date: None,
        head_at: at(ISSUED),
        body: Body::Whole(Zeroizing::new(body.into())),
    };
    let regions = Regions::default();
    let answer = classify(reply, &token("rt"), regions.get("us").unwrap(), None, at(ISSUED), at(ISSUED));
    Acted::Failed(Trouble::from(&answer.err().unwrap()))
}

fn in_squadcasts_words(status: u16) -> Acted {
    answered(status, r#"{"meta":{"status":400,"error_message":"no"}}"#)
}

fn in_few_words(reason: Reason, message: &str) -> Acted {
    Acted::Failed(Trouble::new(reason, message.to_owned()))
}

fn api_error(code: u16, message: &str) -> kube::Error {
    kube::Error::Api(Box::new(Status::failure(message, "").with_code(code)))
}

fn refused(code: u16, message: &str) -> Acted {
    match refusal(&api_error(code, message), "write Secret \"token\"", &[]) {
        Refusal::Trouble(trouble) => Acted::Failed(trouble),
        other => panic!("{other:?}"),
    }
}

/// A resource that shows this reason, and what came of its attempt. No reason is left out: the compiler sees to it.
fn shows(reason: Reason) -> (Scene, Acted, Restarts) {
    let healthy = Scene::healthy;
    let foreign = json!({ "metadata": { "ownerReferences": null, "labels": null, "annotations": null } });
    let merge = json!({ "target": { "creationPolicy": "Merge" } });
    let source = |source| Scene::fresh().with(|s| s.source = Some(source));
    let seen = match reason {
        Reason::TokenValid | Reason::Synced => healthy(),
        Reason::TokenExpired => healthy().with(|s| s.now = at(ISSUED + LIFE)),
        Reason::Suspended => healthy().spec(&json!({ "suspend": true })),
        Reason::RefreshTokenSecretNotFound => source(Source::Missing),
        Reason::RefreshTokenNotAllowed => source(Source::NotAllowed(None)),
        Reason::RefreshTokenKeyNotFound => source(Source::KeyMissing(vec!["other".to_owned()], None)),
        Reason::RefreshTokenInvalid => source(Source::Invalid(InvalidRefreshToken::Empty, None)),
        Reason::UnknownRegion => Scene::fresh().spec(&json!({ "region": "mars" })),
        Reason::TargetNotOwned => healthy().secret(&foreign),
        Reason::TargetNotFound => Scene::fresh().spec(&merge),
        Reason::MergeNotAllowed => healthy().secret(&foreign).spec(&merge),
        Reason::TargetClaimed => Scene::fresh().with(|s| s.rival = Some("other")),
        Reason::TargetImmutable => healthy()
            .with(|s| s.content = Some(Content { immutable: true, ours: true, keys: BTreeSet::new() })),
        Reason::TargetContested => healthy().with(|s| (s.target, s.memory.repairs) = (None, vec![s.now; 2])),
        Reason::TemplateInvalid => {
            Scene::fresh().spec(&json!({ "target": { "template": { "t": "{{ nothing }}" } } }))
        }
        Reason::TargetTooLarge
        | Reason::RequestRejected
        | Reason::RefreshTokenRejected
        | Reason::PaymentRequired
        | Reason::RateLimited
        | Reason::ServiceUnavailable
        | Reason::Timeout
        | Reason::ConnectionFailed
        | Reason::InvalidResponse
        | Reason::WriteFailed
        | Reason::Forbidden => Scene::fresh(),
        Reason::RolloutRestartFailed => {
            healthy().spec(&json!({ "rolloutRestartTargets": [{ "kind": "Deployment", "name": "api" }] }))
        }
    };
    let acted = match reason {
        Reason::TargetTooLarge => {
            Acted::Blocked(render_problem(&render::RenderError::TooLarge { bytes: 2 << 20 }, "token"))
        }
        Reason::RequestRejected => in_squadcasts_words(400),
        Reason::RefreshTokenRejected => in_squadcasts_words(401),
        Reason::PaymentRequired => in_squadcasts_words(402),
        Reason::RateLimited => answered(429, ""),
        Reason::ServiceUnavailable => answered(503, ""),
        Reason::InvalidResponse => answered(200, "<html>"),
        Reason::Timeout => in_few_words(reason, "no answer from auth.squadcast.com within 15s"),
        Reason::ConnectionFailed => in_few_words(reason, "no connection to auth.squadcast.com: refused"),
        Reason::WriteFailed => refused(400, "admission webhook denied the request: no"),
        Reason::Forbidden => {
            refused(403, "secrets is forbidden: User \"u\" cannot create resource \"secrets\"")
        }
        _ => Acted::Nothing,
    };
    let restarts = match reason {
        Reason::RolloutRestartFailed => {
            Restarts::Failed(restart::why(&api_error(404, "not found"), "Deployment \"api\""))
        }
        _ => Restarts::NotDue,
    };
    (seen, acted, restarts)
}

/// The message that a resource shows with this reason.
fn message(reason: Reason) -> String {
    let (scene, acted, restarts) = shows(reason);
    let aftermath = Aftermath { restarts, ..Aftermath::default() };
    let report = scene.look(|case| report(case, &decide(case, scene.now), &acted, &aftermath, scene.now));
    let found = report.status.conditions.iter().find(|condition| condition.reason() == Some(reason));
    found.unwrap_or_else(|| panic!("{reason}: {:?}", report.status.conditions)).message.clone()
}

#[test]
fn each_names_what_it_speaks_of() {
    for reason in Reason::ALL {
        let message = message(*reason);
        let named = ["source", "token", "api", "us", "mars"].map(|name| format!("\"{name}\""));
        let field = message.contains("spec.suspend") || message.contains("spec.target.template");
        assert!(field || named.iter().any(|name| message.contains(name)), "{reason}: {message}");
        assert!(!message.contains('`') && !message.contains(" '"), "{reason}: {message}");
    }
}

#[test]
fn each_says_what_to_do() {
    for reason in Reason::ALL {
        if matches!(reason, Reason::TokenValid | Reason::Synced) {
            continue;
        }
        let message = message(*reason).to_lowercase();
        let parts = message.split([':', ';', '.', ',']).skip(1).map(str::trim_start);
        let instructs = |part: &str| {
            INSTRUCTIONS.iter().any(|word| {
                part.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
            })
        };
        assert!(parts.into_iter().any(instructs), "{reason}: {message}");
    }
}

#[test]
fn under_merge_nobody_is_told_that_the_operator_creates_the_secret() {
    let merge = json!({ "target": { "creationPolicy": "Merge" } });
    let deleting = json!({ "metadata": { "deletionTimestamp": "2026-11-24T00:00:00Z" } });
    let former = json!({ "metadata": { "ownerReferences": [{
        "apiVersion": "credentials.squadcast.com/v1alpha1",
        "kind": "SquadcastCredential",
        "name": "api",
        "uid": "another",
        "controller": true,
    }] } });
    let immutable = shows(Reason::TargetImmutable).0;
    for scene in [immutable, Scene::healthy().secret(&deleting), Scene::healthy().secret(&former)] {
        let told = |scene: &Scene| {
            let decision = scene.look(|case| decide(case, scene.now));
            let Decision::Blocked(blocked) = decision else { panic!("{decision:?}") };
            blocked.message
        };
        let by_operator = "the operator creates it anew";
        let owned = told(&scene);
        assert!(owned.contains(by_operator), "{owned}");
        let merged = told(&scene.spec(&merge));
        assert!(!merged.contains(by_operator), "{merged}");
        assert!(merged.contains("create it anew with the annotation credentials"), "{merged}");
    }
}

#[test]
fn a_rejection_names_the_secret_and_key_that_the_refresh_token_came_from() {
    for reason in [Reason::RefreshTokenRejected, Reason::RequestRejected, Reason::PaymentRequired] {
        let message = message(reason);
        assert!(message.contains("Secret \"source\"") && message.contains("\"refresh_token\""), "{message}");
        assert!(message.contains(": store "), "{message}");
    }
}

#[test]
fn what_passes_by_itself_is_said_to() {
    for reason in [Reason::RateLimited, Reason::ServiceUnavailable, Reason::Timeout, Reason::ConnectionFailed]
    {
        let message = message(reason);
        assert!(message.contains("t is tried again by itself"), "{message}");
    }
}
