//! Bare clients: a straight loop over the requests and exchanges that the operator makes, 32 in flight, on one thread
//! as the operator has one. No watch, no queue, nothing decided: what they take is the raw limit of this API server, this
//! stand-in and this machine.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use futures::stream::{StreamExt, iter};
use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use kube::api::{ListParams, PostParams};
use kube::core::ObjectList;
use kube::{Api, Client};
use serde_json::{Value, json};
use squadcast_operator::api::{SquadcastCredential, Target};
use squadcast_operator::secret::render::{Inputs, render};
use squadcast_operator::secret::{self, Desired, SecretMeta, TokenNotes, api, template_hash};
use squadcast_operator::squadcast::{self, Grant, Proxies, RefreshToken, Region, Settings};

use crate::crowd::PARALLEL;
use crate::process::cpu_of_this_thread;
use crate::support::world::{REGION, World};

/// What is done for each resource.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Source read, exchange, target created, status and event written.
    Issue,
    /// As [`Work::Issue`] with one exchange for all.
    IssueShared,
    /// Source read, exchange, target patched, status and event written.
    Renew,
    /// Source read.
    Look,
}

/// What that took.
pub struct Ran {
    pub began: Instant,
    /// Until the last request was answered, in seconds.
    pub seconds: f64,
    /// Both lists before, one after the other, in seconds.
    pub lists: f64,
    /// Processor time in seconds.
    pub cpu: f64,
    /// Each resource's time in seconds.
    pub each: Vec<f64>,
}

/// Does it for all resources of a world, 32 at once, on a thread of its own.
pub async fn run(world: &World, work: Work) -> Ran {
    run_with(world, work, PARALLEL).await
}

/// As [`run`] with so many at once.
pub async fn run_with(world: &World, work: Work, in_flight: usize) -> Ran {
    let plane = world.plane.clone();
    let of = Place {
        namespace: world.namespace.clone(),
        region: Region::parse(&format!("{REGION}={}", world.squadcast.url()), false).expect("a region"),
    };
    let settings = Settings {
        timeout: std::time::Duration::from_secs(15),
        ca_file: Some(world.squadcast.ca_file()),
        proxies: Proxies::from_env().expect("proxies"),
    };
    let thread = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let squadcast = squadcast::Client::new(settings).expect("a client");
            let bare = Bare { client: plane.client(), squadcast, place: of };
            bare.all(work, in_flight).await
        })
    };
    tokio::task::spawn_blocking(thread).await.expect("the bare clients")
}

struct Place {
    namespace: String,
    region: Region,
}

struct Bare {
    client: Client,
    squadcast: squadcast::Client,
    place: Place,
}

impl Bare {
    async fn all(&self, work: Work, in_flight: usize) -> Ran {
        let asked = Instant::now();
        let resources: Api<SquadcastCredential> = Api::namespaced(self.client.clone(), &self.place.namespace);
        let resources = resources.list(&ListParams::default()).await.expect("the resources").items;
        let secrets = self.secrets().await;
        let lists = asked.elapsed().as_secs_f64();
        let shared = match work {
            Work::IssueShared => Some(self.exchange(&self.token(&resources[0]).await).await),
            _ => None,
        };
        let (began, cpu) = (Instant::now(), cpu_of_this_thread());
        let each = iter(&resources).map(async |resource| {
            let began = Instant::now();
            self.one(work, resource, &secrets, shared.clone()).await;
            began.elapsed().as_secs_f64()
        });
        let each = each.buffer_unordered(in_flight).collect().await;
        let seconds = began.elapsed().as_secs_f64();
        Ran { began, seconds, lists, cpu: cpu_of_this_thread() - cpu, each }
    }

    /// The metadata of all Secrets by their name, as a watch would have told it.
    async fn secrets(&self) -> HashMap<String, SecretMeta> {
        let path = format!("/api/v1/namespaces/{}/secrets", self.place.namespace);
        let request = http::Request::get(path)
            .header("Accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")
            .body(Vec::new());
        let list: ObjectList<SecretMeta> =
            self.client.request(request.expect("a request")).await.expect("the Secrets");
        list.items.into_iter().map(|secret| (secret.name().to_owned(), secret)).collect()
    }

    async fn token(&self, resource: &SquadcastCredential) -> RefreshToken {
        let reference = &resource.spec.refresh_token_secret_ref;
        let secret = api::get(&self.client, &self.place.namespace, &reference.name).await.expect("an answer");
        let secret = secret.unwrap_or_else(|| panic!("there is no Secret {}", reference.name));
        RefreshToken::parse(secret.value(&reference.key).expect("a value")).expect("a refresh token")
    }

    async fn exchange(&self, token: &RefreshToken) -> (Arc<Grant>, squadcast::Fingerprint) {
        match self.squadcast.exchange(&self.place.region, token).await {
            Ok(grant) => (Arc::new(grant), token.fingerprint(&self.place.region.name)),
            Err(failure) => panic!("{}", failure.message),
        }
    }

    async fn one(
        &self,
        work: Work,
        resource: &SquadcastCredential,
        secrets: &HashMap<String, SecretMeta>,
        shared: Option<(Arc<Grant>, squadcast::Fingerprint)>,
    ) {
        let token = self.token(resource).await;
        if work == Work::Look {
            return;
        }
        let (grant, fingerprint) = match shared {
            Some(shared) => shared,
            None => self.exchange(&token).await,
        };
        let name = resource.metadata.name.as_deref().expect("a name");
        let uid = resource.metadata.uid.as_deref().expect("a uid");
        let region = &self.place.region;
        let data = render(
            None,
            &Inputs {
                access_token: grant.access_token.expose(),
                token_type: &grant.token_type,
                issued_at: grant.issued_at,
                expires_at: grant.expires_at,
                region: &region.name,
                api_url: &region.api_url,
            },
        );
        let data = data.expect("the default keys");
        let notes = TokenNotes {
            issued_at: grant.issued_at,
            expires_at: grant.expires_at,
            fingerprint,
            skew: grant.skew,
            template_hash: template_hash(&region.name, &region.api_url, None),
        };
        let desired = Desired { credential: name, credential_uid: uid, target: &resource.spec.target };
        let namespace = &self.place.namespace;
        let Target { name: target, .. } = &resource.spec.target;
        let written = if work == Work::Renew {
            let facts = &secrets.get(target).expect("a target").facts;
            let body = secret::patch(desired, facts, &data, &notes);
            api::patch(&self.client, namespace, target, &body, false).await
        } else {
            api::create(&self.client, namespace, &secret::create(desired, &data, &notes), false).await
        };
        written.unwrap_or_else(|error| panic!("Secret {target}: {error}"));
        self.status(work, resource, name, &grant, fingerprint).await;
        self.event(name, uid).await;
    }

    /// The same fields that the operator writes.
    async fn status(
        &self,
        work: Work,
        resource: &SquadcastCredential,
        name: &str,
        grant: &Grant,
        fingerprint: squadcast::Fingerprint,
    ) {
        let at = |second: i64| Timestamp::from_second(second).expect("a time").to_string();
        let now = at(Timestamp::now().as_second());
        let generation = resource.metadata.generation;
        let condition = |kind: &str, reason: &str, message: &str| {
            json!({
                "type": kind, "status": "True", "reason": reason, "message": message,
                "lastTransitionTime": now, "observedGeneration": generation,
            })
        };
        let mut body = json!({
            "metadata": { "resourceVersion": resource.metadata.resource_version },
            "status": {
                "issuedAt": at(grant.issued_at),
                "expiresAt": at(grant.expires_at),
                "renewAt": at(grant.issued_at + (grant.expires_at - grant.issued_at) / 2),
                "lastRenewedAt": now,
            },
        });
        if work != Work::Renew {
            let status = &mut body["status"];
            status["observedGeneration"] = generation.into();
            status["conditions"] = json!([
                condition("Ready", "TokenValid", "the Secret holds an unexpired access token"),
                condition("Synced", "Synced", "the last attempt did what it should"),
            ]);
            status["targetName"] = resource.spec.target.name.as_str().into();
            status["lastAttemptFingerprint"] = fingerprint.to_string().into();
        }
        let path = format!(
            "/apis/credentials.squadcast.com/v1alpha1/namespaces/{}/squadcastcredentials/{name}/status?fieldManager=bare",
            self.place.namespace
        );
        let request = http::Request::patch(path)
            .header("Accept", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1")
            .header("Content-Type", "application/merge-patch+json")
            .body(serde_json::to_vec(&body).expect("JSON"));
        let answer = self.client.request::<Value>(request.expect("a request")).await;
        answer.unwrap_or_else(|error| panic!("the status of {name}: {error}"));
    }

    async fn event(&self, name: &str, uid: &str) {
        let now = Timestamp::now();
        let event: Event = serde_json::from_value(json!({
            "metadata": { "namespace": self.place.namespace, "name": format!("{name}.{:x}", now.as_nanosecond()) },
            "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
            "type": "Normal", "reason": "TokenIssued", "action": "Reconcile",
            "note": "an access token was issued and is in the Secret",
            "reportingController": "bare", "reportingInstance": "bare",
            "regarding": {
                "apiVersion": "credentials.squadcast.com/v1alpha1", "kind": "SquadcastCredential",
                "namespace": self.place.namespace, "name": name, "uid": uid,
            },
        }))
        .expect("an event");
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.place.namespace);
        let made = events.create(&PostParams::default(), &event).await;
        made.unwrap_or_else(|error| panic!("an event of {name}: {error}"));
    }
}
