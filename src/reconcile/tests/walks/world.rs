//! Something that answers like an API server, a Squadcast of the test's own, and who looks at the resource between them.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use futures::future::BoxFuture;
use http::Method;
use tokio::sync::Semaphore;

use super::super::*;
use crate::{
    api::Key,
    ops::fake_api::{Asked, FakeApi, refusal},
    reconcile::{Context, Input, Known, reconcile},
    slots::Slot,
    squadcast::{AccessToken, Ask, Exchanges, Failure, Fingerprint, Grant, Line, Rate, Region, Transport},
};

/// The resource, and Secrets by name.
pub(super) struct Cluster {
    resource: Value,
    pub(super) secrets: BTreeMap<String, Value>,
    version: u64,
    /// What somebody does to the target right before the operator's next write of it.
    pub(super) overtaken_by: Option<Value>,
    /// Nobody may write the source.
    pub(super) keeps_source: bool,
}

impl Cluster {
    fn next_version(&mut self) -> Value {
        self.version += 1;
        self.version.to_string().into()
    }

    fn put(&mut self, name: &str, mut secret: Value) -> Value {
        secret["metadata"]["resourceVersion"] = self.next_version();
        self.secrets.insert(name.to_owned(), secret.clone());
        secret
    }

    /// Changes a Secret as somebody else does.
    fn change(&mut self, name: &str, patch: &Value) {
        let mut secret = self.secrets[name].clone();
        merge(&mut secret, patch);
        self.put(name, secret);
    }

    fn answer(&mut self, (method, path, body): &Asked) -> (u16, Value) {
        let path = path.split('?').next().unwrap_or_default();
        if path.starts_with("/apis/") {
            if *method == Method::PATCH {
                merge(&mut self.resource, &json!({ "status": body["status"] }));
                self.resource["metadata"]["resourceVersion"] = self.next_version();
            }
            return (200, self.resource.clone());
        }
        let conflict = || refusal(409, "Conflict", "the object has been modified");
        let Some(name) = path.strip_prefix("/api/v1/namespaces/team/secrets/") else {
            let name = body["metadata"]["name"].as_str().unwrap_or_default();
            if self.secrets.contains_key(name) {
                return conflict();
            }
            let mut secret = body.clone();
            secret["metadata"]["uid"] = format!("uid-{}", self.version).into();
            return (201, self.put(name, secret));
        };
        if *method == Method::PATCH
            && name == "token"
            && let Some(change) = self.overtaken_by.take()
        {
            self.change(name, &change);
        }
        let Some(mut secret) = self.secrets.get(name).cloned() else {
            return refusal(404, "NotFound", "not found");
        };
        if *method != Method::PATCH {
            return (200, secret);
        }
        if self.keeps_source && name == "source" {
            return refusal(500, "InternalError", "a webhook is down");
        }
        for field in ["uid", "resourceVersion"] {
            let examined = &body["metadata"][field];
            if !examined.is_null() && *examined != secret["metadata"][field] {
                return conflict();
            }
        }
        match body.as_array() {
            None => merge(&mut secret, body),
            Some(operations) => {
                for operation in operations {
                    let at = secret.pointer_mut(operation["path"].as_str().unwrap_or_default());
                    match (at, operation["op"].as_str()) {
                        (Some(at), Some("test")) if *at == operation["value"] => {}
                        (Some(at), Some("replace")) => *at = operation["value"].clone(),
                        _ => return refusal(422, "Invalid", "the patch does not apply"),
                    }
                }
            }
        }
        (200, self.put(name, secret))
    }
}

/// What an exchange is answered with.
pub(super) enum Answer {
    Rotates(&'static str),
    Fails(Reason),
}

/// Answers as it is told, else with a new token. The number of the request is in the token's name.
#[derive(Default)]
struct Squadcast {
    answers: Mutex<VecDeque<Answer>>,
    sent: Mutex<Vec<String>>,
    now: AtomicI64,
}

impl Squadcast {
    fn now(&self) -> Timestamp {
        at(self.now.load(Ordering::SeqCst))
    }

    fn pass(&self, seconds: i64) {
        self.now.fetch_add(seconds, Ordering::SeqCst);
    }
}

struct Shared(Arc<Squadcast>);

impl Transport for Shared {
    fn exchange<'a>(
        &'a self,
        _: &'a Region,
        token: &'a RefreshToken,
    ) -> BoxFuture<'a, Result<Grant, Failure>> {
        let mut sent = self.0.sent.lock().unwrap();
        sent.push(token.expose().to_owned());
        let rotated = match self.0.answers.lock().unwrap().pop_front() {
            None => None,
            Some(Answer::Rotates(to)) => Some(super::super::token(to)),
            Some(Answer::Fails(reason)) => {
                let message = format!("it failed with {reason}");
                let requested_at = self.0.now();
                return Box::pin(async move { Err(Failure::unanswered(reason, message, requested_at)) });
            }
        };
        let access_token = AccessToken::parse(&format!("access-{}", sent.len())).unwrap();
        let grant = Grant { access_token, rotated, ..grant(self.0.now().as_second(), LIFE, 0) };
        Box::pin(async move { Ok(grant) })
    }
}

fn line(secret: &str) -> Line {
    Line { secret: Key::new("team", secret), key: "refresh_token".into(), region: "us".into() }
}

async fn another_asks(exchanges: &Exchanges) {
    let (regions, token, source) = (Regions::default(), token("rt"), line("another"));
    let ask = Ask {
        region: regions.get("us").unwrap(),
        token: &token,
        source: &source,
        since: exchanges.moment(),
        not_before: Timestamp::MIN,
        expires_at: None,
        holder: None,
    };
    exchanges.exchange(ask, || true).await;
}

/// What others may do between two requests of a walk.
pub(super) struct Between {
    cluster: Arc<Mutex<Cluster>>,
    squadcast: Arc<Squadcast>,
    exchanges: Exchanges,
}

impl Between {
    /// Another resource has written a new refresh token into the source.
    pub(super) fn writes_back(&self) {
        self.exchanges.written_back(token("rt").fingerprint("us"), &line("source"));
    }

    /// Another resource gets a token, and a second later somebody edits the target.
    pub(super) fn asks_before_an_edit(&self) {
        let exchanges = self.exchanges.clone();
        let asks = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(another_asks(&exchanges));
        };
        std::thread::spawn(asks).join().unwrap();
        self.squadcast.pass(1);
        let edit = json!({ "data": { "access_token": BASE64.encode("edited") } });
        self.cluster.lock().unwrap().change("token", &edit);
    }
}

/// A resource that nobody has looked at yet, its source, and who looks at it.
pub(super) struct World {
    pub(super) cluster: Arc<Mutex<Cluster>>,
    squadcast: Arc<Squadcast>,
    /// The resource is still as the reconcile found it.
    pub(super) wanted: Arc<AtomicBool>,
    on_read: OnRead,
    context: Context,
    memory: Memory,
    /// When the last walk wants to be followed by another.
    pub(super) wake: Option<Timestamp>,
}

/// What happens right before a Secret is read: it is told which.
type OnRead = Arc<Mutex<Box<dyn FnMut(&str) + Send>>>;

impl World {
    pub(super) async fn new() -> Self {
        let cluster = Cluster {
            resource: object(),
            secrets: BTreeMap::new(),
            version: 100,
            overtaken_by: None,
            keeps_source: false,
        };
        let cluster = Arc::new(Mutex::new(cluster));
        let on_read: OnRead = Arc::new(Mutex::new(Box::new(|_| ())));
        let (answering, reading) = (cluster.clone(), on_read.clone());
        let answer = move |asked: &Asked| {
            if asked.0 == Method::GET {
                reading.lock().unwrap()(asked.1.rsplit('/').next().unwrap_or_default());
            }
            answering.lock().unwrap().answer(asked)
        };
        let (_, clients) = FakeApi::start(answer).await;
        let squadcast = Arc::new(Squadcast::default());
        squadcast.now.store(ISSUED, Ordering::SeqCst);
        let clock = |squadcast: &Arc<Squadcast>| {
            let squadcast = squadcast.clone();
            move || squadcast.now()
        };
        let wanted = Arc::new(AtomicBool::new(true));
        let (still_wanted, sources) = (wanted.clone(), cluster.clone());
        let exchanges =
            Exchanges::new(Shared(squadcast.clone()), (), Rate::default(), Arc::new(clock(&squadcast)));
        let context = Context {
            client: clients.requests,
            exchanges,
            regions: Regions::default(),
            label_required: false,
            clock: Box::new(clock(&squadcast)),
            may_act: Box::new(|| true),
            // What counts is the source as it was read, not as the watches had told of it before.
            still_wanted: Box::new(move |input| {
                let name = &input.credential.spec.refresh_token_secret_ref.name;
                let version = facts(&sources.lock().unwrap().secrets[name]).resource_version;
                let same = matches!(&input.source, Known::Facts(read) if read.resource_version == version);
                same && still_wanted.load(Ordering::SeqCst)
            }),
            still_there: Box::new(|_| true),
            tell: Box::new(|_, _| {}),
        };
        let memory = Memory::default();
        let world = Self { cluster, squadcast, wanted, on_read, context, memory, wake: None };
        world.stores("source", "rt");
        world
    }

    /// One that has got its first token.
    pub(super) async fn issued() -> Self {
        let mut world = Self::new().await;
        assert_eq!(world.walk().await, "issued");
        assert_eq!((world.sent(), world.holds().as_str()), (1, "access-1"));
        world
    }

    /// Looks at the resource; says what has come of it.
    pub(super) async fn walk(&mut self) -> &'static str {
        self.walk_with(Known::Present).await
    }

    /// Looks at the resource with what the watches have told of its source.
    pub(super) async fn walk_with(&mut self, source: Known) -> &'static str {
        let credential = credential(&self.cluster.lock().unwrap().resource);
        let input = Input {
            writes_back: credential.spec.refresh_token_rotation == RefreshTokenRotation::WriteBack,
            credential: Arc::new(credential),
            source,
            target: Known::Present,
            rival: None,
            holder_leaves: false,
            former_targets: Vec::new(),
        };
        let slots = Arc::new(Semaphore::new(1));
        let slot = Slot::new(slots.clone(), slots.acquire_owned().await.unwrap());
        let done = Box::pin(reconcile(&self.context, &slot, &input, std::mem::take(&mut self.memory))).await;
        self.memory = done.memory;
        self.wake = done.wake;
        done.ending.as_str()
    }

    /// Another resource of the same refresh token needs a token.
    pub(super) async fn another_asks(&self) {
        another_asks(&self.context.exchanges).await;
    }

    pub(super) fn pass(&self, seconds: i64) {
        self.squadcast.pass(seconds);
    }

    /// From now on this happens right before a Secret is read; it is told which one, and what it may call for.
    pub(super) fn on_read(&self, mut happens: impl FnMut(&str, &Between) + Send + 'static) {
        let exchanges = self.context.exchanges.clone();
        let between = Between { cluster: self.cluster.clone(), squadcast: self.squadcast.clone(), exchanges };
        *self.on_read.lock().unwrap() = Box::new(move |name| happens(name, &between));
    }

    pub(super) fn answers(&self, answer: Answer) {
        self.squadcast.answers.lock().unwrap().push_back(answer);
    }

    /// How many resources are at a write-back.
    pub(super) fn unsaved(&self) -> usize {
        self.context.exchanges.unsaved().len()
    }

    /// A Secret with a refresh token, as a user stores it.
    pub(super) fn stores(&self, name: &str, token: &str) {
        let secret =
            json!({ "metadata": { "name": name }, "data": { "refresh_token": BASE64.encode(token) } });
        self.cluster.lock().unwrap().put(name, secret);
    }

    /// How many exchanges were made.
    pub(super) fn sent(&self) -> usize {
        self.squadcast.sent.lock().unwrap().len()
    }

    pub(super) fn resource(&self, patch: &Value) {
        merge(&mut self.cluster.lock().unwrap().resource, patch);
    }

    /// Changes the spec as a user does.
    pub(super) fn spec(&self, patch: &Value) {
        self.resource(&json!({ "metadata": { "generation": 2 }, "spec": patch }));
    }

    pub(super) fn request(&self, value: &str) {
        self.resource(&json!({ "metadata": { "annotations": { names::ANNOTATION_RENEW: value } } }));
    }

    /// Changes the target as somebody else does.
    pub(super) fn target(&self, patch: &Value) {
        self.cluster.lock().unwrap().change("token", patch);
    }

    pub(super) fn status(&self) -> SquadcastCredentialStatus {
        credential(&self.cluster.lock().unwrap().resource).status
    }

    pub(super) fn secret(&self, name: &str) -> Value {
        self.cluster.lock().unwrap().secrets[name].clone()
    }

    pub(super) fn value(&self, name: &str, key: &str) -> String {
        let secret = self.secret(name);
        String::from_utf8(BASE64.decode(secret["data"][key].as_str().unwrap()).unwrap()).unwrap()
    }

    /// The access token in the target.
    pub(super) fn holds(&self) -> String {
        self.value("token", "access_token")
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        facts(&self.secret("token")).token.unwrap().fingerprint
    }
}
