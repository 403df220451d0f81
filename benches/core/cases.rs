//! One function a case: prepares what it needs and does its work so many times.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

use squadcast_operator::controller::{Index, Watched};
use squadcast_operator::reconcile::{
    Acted, Aftermath, Case, FoundToken, Input, Known, Learned, Memory, Observation, Source, Target, decide,
    report,
};
use squadcast_operator::schedule::{Life, RenewalPolicy, renewal};
use squadcast_operator::secret::{self, SecretMeta, render};
use squadcast_operator::squadcast::{Body, Moment, Reply, classify};
use zeroize::Zeroizing;

use crate::objects::{
    ISSUED, LIFE, answer, at, credential, desired, inputs, notes, refresh_token, region, regions, resource,
    stranger, target,
};

/// Resources in the index of a case.
const RESOURCES: usize = 1000;
/// Resources that claim one target.
const CLAIMS: usize = 100;

type Run = fn(u64);

pub const CASES: &[(&str, Run)] = &[
    ("decide: a resource that is fine", decide_fine),
    ("report: a resource that is fine", report_fine),
    ("schedule: a renewal", schedule),
    ("render: default keys", render_default),
    ("render: a template", render_template),
    ("body: a target to create", body_create),
    ("body: a target to patch", body_patch),
    ("answer: a token", parse_answer),
    ("watch: a target's metadata", decode_target),
    ("watch: a stranger's metadata", decode_stranger),
    ("watch: a resource", decode_resource),
    ("index: a stranger changes", index_stranger),
    ("index: a target as it was written", index_target),
    ("index: a resource as its status was written", index_resource),
    ("index: from input to what was learned", index_reconcile),
    ("index: a target that many claim", index_contended),
];

fn repeat(times: u64, mut work: impl FnMut()) {
    for _ in 0..times {
        work();
    }
}

/// A healthy resource, half-way to its renewal.
fn with_case(then: impl FnOnce(&Case<'_>)) {
    let credential = credential(1);
    let facts = |value| Arc::new(serde_json::from_value::<SecretMeta>(value).unwrap().facts);
    let token = refresh_token();
    let seen = Observation {
        source: Source::Found(FoundToken {
            fingerprint: token.fingerprint("us"),
            immutable: false,
            raw: Zeroizing::new(token.expose().as_bytes().to_vec()),
            token,
            facts: facts(stranger(1)),
        }),
        target: Target::Present { facts: facts(target(1, 20)), content: None },
        by_label: false,
        since: Moment::default(),
    };
    let regions = regions();
    let input = Input {
        source: Known::Present,
        target: Known::Present,
        rival: None,
        holder_leaves: false,
        writes_back: false,
        former_targets: Vec::new(),
        credential: Arc::new(credential),
    };
    then(&Case {
        input: &input,
        history: &input.credential.status,
        regions: &regions,
        seen: &seen,
        memory: &Memory::default(),
    });
}

fn decide_fine(times: u64) {
    with_case(|case| repeat(times, || drop(black_box(decide(black_box(case), at(ISSUED + LIFE / 3))))));
}

fn report_fine(times: u64) {
    with_case(|case| {
        let now = at(ISSUED + LIFE / 3);
        let decision = decide(case, now);
        repeat(times, || {
            drop(black_box(report(black_box(case), &decision, &Acted::Nothing, &Aftermath::default(), now)));
        });
    });
}

fn schedule(times: u64) {
    let life = Life { issued: at(ISSUED), expires: at(ISSUED + LIFE) };
    let fingerprint = refresh_token().fingerprint("us");
    repeat(times, || {
        black_box(renewal(black_box(life), RenewalPolicy::TwoThirds, fingerprint));
    });
}

fn render_default(times: u64) {
    repeat(times, || drop(black_box(render::render(None, black_box(&inputs())))));
}

fn render_template(times: u64) {
    let text =
        "{{ token_type }} {{ access_token | b64encode }}{% if region == 'us' %} {{ api_url }}{% endif %}";
    let template = BTreeMap::from([("authorization".to_owned(), text.to_owned())]);
    repeat(times, || {
        black_box(render::render(Some(&template), black_box(&inputs()))).unwrap();
    });
}

fn body_create(times: u64) {
    let (credential, notes) = (credential(1), notes());
    let data = render::render(None, &inputs()).unwrap();
    repeat(times, || drop(black_box(secret::create(desired(black_box(&credential)), &data, &notes))));
}

fn body_patch(times: u64) {
    let (credential, notes) = (credential(1), notes());
    let data = render::render(None, &inputs()).unwrap();
    let facts = serde_json::from_value::<SecretMeta>(target(1, 20)).unwrap().facts;
    repeat(times, || drop(black_box(secret::patch(desired(black_box(&credential)), &facts, &data, &notes))));
}

fn parse_answer(times: u64) {
    let (token, region, bytes) = (refresh_token(), region(), answer());
    let now = at(ISSUED + 1);
    repeat(times, || {
        let reply = Reply {
            status: 200,
            content_type: Some("application/json".to_owned()),
            retry_after: None,
            date: Some("Tue, 14 Nov 2023 22:13:21 GMT".to_owned()),
            head_at: now,
            body: Body::Whole(Zeroizing::new(bytes.clone())),
        };
        assert!(black_box(classify(reply, &token, &region, None, now, now)).is_ok());
    });
}

fn decode<T: serde::de::DeserializeOwned, U>(times: u64, text: &str, then: impl Fn(T) -> U) {
    repeat(times, || drop(black_box(then(serde_json::from_str(black_box(text)).unwrap()))));
}

fn decode_target(times: u64) {
    decode::<SecretMeta, _>(times, &target(1, 20).to_string(), |secret| secret);
}

fn decode_stranger(times: u64) {
    decode::<SecretMeta, _>(times, &stranger(1).to_string(), |secret| secret);
}

fn decode_resource(times: u64) {
    decode::<Watched, _>(times, &resource(1).to_string(), Watched::decoded);
}

/// Many resources with their targets, each reconciled once.
fn index() -> Index {
    let mut index = Index::new(false);
    for number in 0..RESOURCES {
        index.apply_credential(0, &credential(number));
        index.apply_secret(0, &serde_json::from_value(target(number, 20)).unwrap());
    }
    reconciled(index)
}

fn reconciled(mut index: Index) -> Index {
    for key in index.keys() {
        let input = index.input(&key).unwrap();
        index.finish(&key, &input, Learned::default());
    }
    index
}

fn index_stranger(times: u64) {
    let mut index = index();
    let secret: SecretMeta = serde_json::from_value(stranger(1)).unwrap();
    repeat(times, || assert!(black_box(index.apply_secret(0, &secret)).is_empty()));
}

fn index_target(times: u64) {
    let mut index = index();
    let secret: SecretMeta = serde_json::from_value(target(7, 20)).unwrap();
    repeat(times, || assert!(black_box(index.apply_secret(0, &secret)).is_empty()));
}

fn index_resource(times: u64) {
    let mut index = index();
    let resource = credential(7);
    repeat(times, || assert!(black_box(index.apply_credential(0, &resource)).is_empty()));
}

fn index_contended(times: u64) {
    let mut index = Index::new(false);
    let contended = credential(0).spec.target;
    for number in 0..CLAIMS {
        let mut claims = credential(number);
        claims.spec.target = contended.clone();
        index.apply_credential(0, &claims);
    }
    let secret: SecretMeta = serde_json::from_value(target(0, 20)).unwrap();
    index.apply_secret(0, &secret);
    let mut index = reconciled(index);
    repeat(times, || assert!(black_box(index.apply_secret(0, &secret)).is_empty()));
}

fn index_reconcile(times: u64) {
    let mut index = index();
    let key = credential(7).key;
    repeat(times, || {
        let input = index.input(&key).unwrap();
        let Known::Facts(facts) = &input.target else { panic!("a target is known") };
        let secrets = vec![(input.credential.target(), Some(facts.clone()))];
        assert!(!black_box(index.finish(&key, &input, Learned { secrets, status: None })));
    });
}
