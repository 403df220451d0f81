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
    squadcast::{AccessToken, Grant, Moment, RefreshToken, Regions},
};

mod decisions;
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
        Desired { credential: credential.key.name(), credential_uid: &credential.uid, target: &spec.target };
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
            seen: &Observation { source, target, by_label: self.by_label, since: Moment::default() },
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
        token_type: "Bearer".into(),
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
