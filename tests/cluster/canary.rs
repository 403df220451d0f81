//! Tokens are in Secrets and nowhere else: canaries are searched for in all that the operator writes and shows,
//! whole, in pieces, and in the usual encodings, while it meets everything that might repeat them.

use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::OPERATOR;
use crate::command::run_with;
use crate::support::eventually::unless;
use crate::support::squadcast::{Reply, Squadcast};
use crate::support::world::{REGION, World};
use crate::support::{DEADLINE, eventually};

/// So many characters of a token, or more of an encoding, are found.
const PIECE: usize = 12;
const ENCODED_PIECE: usize = 16;

/// A token that nothing else looks like.
fn token(name: &str) -> String {
    hex(&Sha256::digest(name.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// Finds pieces of tokens.
#[derive(Default)]
struct Search {
    plain: HashSet<Vec<u8>>,
    encoded: HashSet<Vec<u8>>,
}

impl Search {
    fn add(&mut self, token: &str) {
        self.plain.extend(token.as_bytes().windows(PIECE).map(<[u8]>::to_vec));
        let mut forms = vec![hex(token.as_bytes())];
        for lead in 0..3 {
            // What also depends on neighbouring bytes is left out at both ends.
            let text = [&[0; 2][..lead], token.as_bytes()].concat();
            let (start, end) = ((lead * 8).div_ceil(6), text.len() * 8 / 6);
            forms.extend(
                [STANDARD_NO_PAD, URL_SAFE_NO_PAD].map(|engine| engine.encode(&text)[start..end].to_owned()),
            );
        }
        for form in forms {
            self.encoded.extend(form.as_bytes().windows(ENCODED_PIECE).map(<[u8]>::to_vec));
        }
    }

    /// The first piece in a text, with what stands around it.
    fn find(&self, text: &[u8]) -> Option<String> {
        let find = |pieces: &HashSet<Vec<u8>>, size| {
            text.windows(size).position(|window| pieces.contains(window)).map(|at| (at, at + size))
        };
        let (start, end) = find(&self.plain, PIECE).or_else(|| find(&self.encoded, ENCODED_PIECE))?;
        let around = &text[start.saturating_sub(200)..(end + 100).min(text.len())];
        Some(String::from_utf8_lossy(around).into_owned())
    }

    fn is_not_in(&self, what: &str, text: impl AsRef<[u8]>) {
        if let Some(found) = self.find(text.as_ref()) {
            panic!("a token is in {what}: …{found}…");
        }
    }
}

/// Refuses what operators write, with the written data in the refusal's words, as a webhook might.
fn talkative_policy(namespace: &str) -> String {
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": namespace},
        "spec": {
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "resourceRules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "resources": ["secrets"],
                    "operations": ["CREATE", "UPDATE"],
                }],
            },
            "matchConditions": [{
                "name": "operator",
                "expression": "request.userInfo.username.startsWith('operator-') && \
                               object.metadata.name in ['denied-target', 'held-source']",
            }],
            "validations": [{
                "expression": "!has(object.data)",
                "messageExpression":
                    "'refused: ' + object.data.map(key, string(object.data[key])).join(' ')",
            }],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": namespace},
        "spec": {"policyName": namespace, "validationActions": ["Deny"]},
    });
    format!("{policy}\n---\n{binding}\n")
}

/// Waits until the policy is at work.
async fn refuse_writes(world: &World) {
    world.kubectl_apply(&talkative_policy(&world.namespace));
    let client = world.plane.client_for("operator-nobody", &["system:masters"]);
    let secrets: Api<Secret> = Api::namespaced(client, &world.namespace);
    let probe = json!({"metadata": {"name": "denied-target"}, "stringData": {"key": "value"}});
    let probe: Secret = serde_json::from_value(probe).unwrap();
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let said = eventually("the policy to refuse", DEADLINE, async || {
        secrets.create(&params, &probe).await.err().map(|error| error.to_string())
    })
    .await;
    assert!(said.contains("refused: "), "{said}");
}

/// What Squadcast, or who stands in its place, answers: each repeats tokens somewhere.
fn replies() -> Vec<(&'static str, Reply, &'static str)> {
    let sent = |name: &str| token(&format!("refresh {name}"));
    let base64 = |text: &str| STANDARD_NO_PAD.encode(text);
    let echo = sent("echo");
    let message = format!("bad token {echo}, {}, {}", base64(&echo), base64(&format!("Bearer {echo}")));
    let page = format!("<html>{} {}</html>", sent("page"), base64(&sent("page")));
    let broken = format!("{{\"data\": {{\"access_token\": \"{}\", \"refresh", token("access broken"));
    let typed = Reply::token().access_token(&token("access typed")).field("expires_at", sent("typed").into());
    let extra = Reply::token().access_token(&token("access extra")).field("type", json!([sent("extra")]));
    let header = Reply::raw(200, &format!("text/{}", sent("header")), sent("header"))
        .header("Date", &sent("header"))
        .header("X-Token", &sent("header"));
    let moved = Reply::redirect(302, &format!("https://elsewhere.example/?t={}", sent("moved")));
    let limited =
        Reply::error_with(429, &json!({"status": sent("limited"), "error_message": sent("limited")}))
            .retry_after(&sent("limited"));
    vec![
        ("echo", Reply::error_with(401, &json!({"error_message": message})), "RefreshTokenRejected"),
        ("page", Reply::raw(502, "text/html", page.clone()), "ServiceUnavailable"),
        (
            "login",
            Reply::raw(200, "text/html", page.replace(&sent("page"), &sent("login"))),
            "InvalidResponse",
        ),
        ("broken", Reply::raw(200, "application/json", broken), "InvalidResponse"),
        ("typed", typed, "InvalidResponse"),
        ("extra", extra, "InvalidResponse"),
        ("header", header, "InvalidResponse"),
        ("moved", moved, "InvalidResponse"),
        ("limited", limited, "RateLimited"),
    ]
}

/// Every token that a name of [`replies`] stands for.
fn tokens_of(name: &str) -> [String; 2] {
    [token(&format!("refresh {name}")), token(&format!("access {name}"))]
}

/// A source with the refresh token of this name, as kubectl leaves it: with a copy in an annotation.
fn source(world: &World, name: &str, key: &str, value: &str) {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("{name}-source")},
        "stringData": {key: value},
    });
    world.kubectl_apply(&secret.to_string());
}

fn spec(name: &str, more: &Value) -> Value {
    let mut spec = json!({
        "region": REGION,
        "refreshTokenSecretRef": {"name": format!("{name}-source")},
        "target": {"name": format!("{name}-target")},
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        if field == "template" {
            spec["target"]["template"] = value.clone();
        } else {
            spec[field] = value.clone();
        }
    }
    spec
}

/// The resources of the scenario: name, answer, more of the spec, and the reason of Synced that is expected.
fn scenario() -> Vec<(&'static str, Reply, Value, &'static str)> {
    let good = |name: &str| Reply::token().access_token(&token(&format!("access {name}")));
    let mut all: Vec<_> =
        replies().into_iter().map(|(name, reply, reason)| (name, reply, json!({}), reason)).collect();
    let late = "{% if access_token|length > 30 %}{{ access_token|int }}{% endif %}";
    let later = "{% if access_token|length > 30 %}{{ access_token.x.y }}{% endif %}";
    let write_back = json!({"refreshTokenRotation": "WriteBack"});
    all.extend([
        ("good", good("good"), json!({}), "Synced"),
        ("rotated", good("rotated").refresh_token(&token("next rotated")), json!({}), "Synced"),
        ("written", good("written").refresh_token(&token("next written")), write_back.clone(), "Synced"),
        ("held", good("held").refresh_token(&token("next held")), write_back, "WriteFailed"),
        (
            "denied",
            good("denied"),
            json!({"template": {
                "authorization": "Bearer {{ access_token }}",
                "plain": "{{ access_token }}",
                "twice": "{{ access_token|b64encode }}",
            }}),
            "WriteFailed",
        ),
        ("number", good("number"), json!({"template": {"a": late}}), "TemplateInvalid"),
        ("item", good("item"), json!({"template": {"a": later}}), "TemplateInvalid"),
        (
            "wrong",
            good("wrong"),
            json!({"refreshTokenSecretRef": {"name": "wrong-source", "key": "other"}}),
            "RefreshTokenKeyNotFound",
        ),
        ("lines", good("lines"), json!({}), "RefreshTokenInvalid"),
    ]);
    all
}

async fn shows_no_token(format: &str) {
    let world = World::new(&format!("canary-{format}")).await;
    let mut search = Search::default();
    refuse_writes(&world).await;
    for (name, reply, _, _) in scenario() {
        let refresh_token = token(&format!("refresh {name}"));
        world.squadcast.script(&refresh_token, reply.clone());
        let value = if name == "lines" { format!("{refresh_token}\n{refresh_token}") } else { refresh_token };
        source(&world, name, "refresh_token", &value);
        for token in tokens_of(name) {
            search.add(&token);
        }
        search.add(&token(&format!("next {name}")));
    }
    search.add(&STANDARD_NO_PAD.encode(token("access denied")));
    let flags = [format!("--log-format={format}"), "--log-filter=trace".to_owned()];
    let operator = world.operator(OPERATOR, &flags.each_ref().map(String::as_str)).await;
    for (name, _, more, _) in scenario() {
        world.apply(name, spec(name, &more)).await;
    }
    for (name, _, _, reason) in scenario() {
        let status = if reason == "Synced" { "True" } else { "False" };
        world.wait_for(name, "Synced", status, reason).await;
    }
    let annotation =
        json!({"metadata": {"annotations": {"credentials.squadcast.com/renew-requested-at": "1"}}});
    world.patch("good", annotation).await;
    for (name, _, _, _) in scenario() {
        eventually(&format!("events about {name}"), DEADLINE, async || {
            let reasons = world.event_reasons(name).await;
            unless(reasons.len() > usize::from(name == "good"), reasons)
        })
        .await;
    }

    // The search finds what is there, and the scenario repeated what it should.
    let target = world.secret_data("written-target").await;
    assert!(search.find(target["access_token"].as_bytes()).is_some());
    let secrets =
        serde_json::to_string(&world.secrets().list(&ListParams::default()).await.unwrap()).unwrap();
    assert!(search.find(secrets.as_bytes()).is_some());
    for (name, kind, words) in
        [("denied", "Synced", "refused: "), ("held", "Synced", "refused: "), ("echo", "Synced", "bad token")]
    {
        let message = world.condition(name, kind).await.unwrap()["message"].clone();
        assert!(message.as_str().unwrap().contains(words), "{name}: {message}");
    }
    assert!(operator.log().contains("TRACE"));

    let resources = world.credentials().list(&ListParams::default()).await.unwrap();
    search.is_not_in("a resource", serde_json::to_vec(&resources).unwrap());
    for (name, _, _, _) in scenario() {
        let events = world.events(name).await;
        search.is_not_in(&format!("an event about {name}"), serde_json::to_vec(&events).unwrap());
    }
    search.is_not_in("the metrics", operator.metrics());
    search.is_not_in("/readyz", operator.get("/readyz").unwrap().1);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", operator.pid())).unwrap();
    let cores = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let words: Vec<_> = cores.split_whitespace().skip(4).take(2).collect();
    assert_eq!(words, ["0", "0"], "no core dump: {cores}");
    for file in ["environ", "cmdline"] {
        let path = format!("/proc/{}/{file}", operator.pid());
        match std::fs::read(&path) {
            Ok(bytes) => search.is_not_in(&path, bytes),
            // A process that cannot be dumped shows its environment to root only.
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied, "{path}"),
        }
    }
    for mut secret in world.secrets().list(&ListParams::default()).await.unwrap() {
        let name = secret.metadata.name.clone().unwrap();
        if let Some(annotations) = &mut secret.metadata.annotations {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
        search.is_not_in(&format!("metadata of {name}"), serde_json::to_vec(&secret.metadata).unwrap());
        // The refresh token is in no target, the new one neither.
        if let Some(resource) = name.strip_suffix("-target") {
            let mut refresh = Search::default();
            refresh.add(&token(&format!("refresh {resource}")));
            refresh.add(&token(&format!("next {resource}")));
            for value in secret.data.unwrap_or_default().into_values() {
                refresh.is_not_in(&name, value.0);
            }
        }
    }
    operator.sigterm();
    operator.wait_exit(DEADLINE).await;
    search.is_not_in("the log", operator.log());
}

#[tokio::test]
async fn no_token_is_in_a_log_as_json_an_event_a_status_a_metric_or_the_process() {
    shows_no_token("json").await;
}

#[tokio::test]
async fn no_token_is_in_a_log_as_text_an_event_a_status_a_metric_or_the_process() {
    shows_no_token("text").await;
}

#[tokio::test]
async fn check_shows_no_token_whatever_the_answer_is() {
    let standin = Squadcast::start();
    let region = format!("--region=test={}", standin.url());
    let ca = format!("--ca-file={}", standin.ca_file().display());
    let good = Reply::token().access_token(&token("access good")).refresh_token(&token("next good"));
    let mut all = replies();
    all.push(("good", good, "TokenValid"));
    for (name, reply, reason) in all {
        let mut search = Search::default();
        for token in tokens_of(name) {
            search.add(&token);
        }
        search.add(&token("next good"));
        let refresh_token = token(&format!("refresh {name}"));
        standin.script(&refresh_token, reply);
        for (more, env, input) in [
            (vec!["--refresh-token-file=-"], vec![], &*refresh_token),
            (vec![], vec![("SQUADCAST_REFRESH_TOKEN", &*refresh_token)], ""),
        ] {
            let args = [vec!["check", &region, &ca], more].concat();
            let env = [env, vec![("RUST_LOG", "trace"), ("RUST_BACKTRACE", "1")]].concat();
            let ended = run_with(&args, &env, input).await;
            assert!(ended.out.contains(reason), "{name}: {ended:?}");
            search.is_not_in(&format!("check's output for {name}"), ended.all());
        }
    }
    let refresh_token = token("refresh lines");
    let mut search = Search::default();
    search.add(&refresh_token);
    let input = format!("{refresh_token}\n{refresh_token}");
    let ended = run_with(&["check", &region, &ca, "--refresh-token-file=-"], &[], &input).await;
    assert!(ended.out.contains("RefreshTokenInvalid"), "{ended:?}");
    search.is_not_in("check's output for lines", ended.all());
}
