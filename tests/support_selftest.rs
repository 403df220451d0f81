//! Proves that what the other tests stand on works.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a panic is how a test fails, and the printed time is for who runs it"
)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};
use support::operator::Launch;
use support::process::alive;
use support::world::install_crd;
use support::{
    Component, ControlPlane, Cut, DEADLINE, Gate, Proxy, Reply, Script, Squadcast, Tls, World, eventually,
};

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
}

/// Waits until nothing is left of a control plane.
async fn gone(pids: &[u32], folder: &Path) {
    eventually("the control plane's end", Duration::from_secs(15), async || {
        let left: Vec<_> = pids.iter().filter(|&&pid| alive(pid)).collect();
        if left.is_empty() && !folder.exists() {
            Ok(())
        } else {
            Err(format!("{left:?} {}", folder.display()))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_control_planes_run_side_by_side_and_survive_faults() {
    let shared = ControlPlane::shared();
    let began = Instant::now();
    let own = ControlPlane::start();
    println!("a control plane started in {:?}", began.elapsed());
    let maps: Api<ConfigMap> = Api::namespaced(own.client(), "default");
    maps.create(&PostParams::default(), &config_map("one")).await.unwrap();
    let elsewhere: Api<ConfigMap> = Api::namespaced(shared.client(), "default");
    assert!(elsewhere.get_opt("one").await.unwrap().is_none());

    own.pause(Component::ApiServer);
    // The signal arrives when it arrives.
    let silent = async || tokio::time::timeout(Duration::from_millis(500), maps.get("one")).await.is_err();
    eventually("the stopped API server to be silent", DEADLINE, silent).await;
    own.resume(Component::ApiServer);
    maps.get("one").await.unwrap();

    own.restart(Component::ApiServer);
    own.kill(Component::Etcd);
    let (params, two) = (PostParams::default(), config_map("two"));
    let answer = tokio::time::timeout(Duration::from_millis(500), maps.create(&params, &two)).await;
    assert!(!matches!(answer, Ok(Ok(_))), "a write without etcd succeeded");
    own.restart(Component::Etcd);
    maps.get("one").await.unwrap();

    let (pids, folder) = (own.pids(), own.folder().to_owned());
    drop(own);
    gone(&pids, &folder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_counts_requests_by_user() {
    let plane = ControlPlane::shared();
    let maps: Api<ConfigMap> = Api::namespaced(plane.client_for("counted", &["system:masters"]), "default");
    maps.create(&PostParams::default(), &config_map("counted")).await.unwrap();
    for _ in 0..50 {
        maps.get("counted").await.unwrap();
    }
    let requests = plane.requests_by("counted");
    assert_eq!(requests.len(), 51);
    assert_eq!(requests[0].what(), "create configmaps");
    assert!(requests[0].is_write());
    eventually("the last answer's code", DEADLINE, async || {
        plane.requests_by("counted").iter().all(|request| request.code.is_some())
    })
    .await;

    let stranger: Api<ConfigMap> = Api::namespaced(plane.client_for("stranger", &[]), "default");
    let refused = stranger.get("counted").await.unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 403));
}

/// Folders of control planes below this one, with the process ids that are noted in each.
fn control_planes(below: &Path) -> std::io::Result<Vec<(PathBuf, Vec<u32>)>> {
    let noted = |folder: PathBuf| {
        let pids = ["etcd", "kube-apiserver", "kube-controller-manager"].iter().filter_map(|name| {
            std::fs::read_to_string(folder.join(name).with_extension("pid")).ok()?.parse().ok()
        });
        let pids = pids.collect();
        (folder, pids)
    };
    std::fs::read_dir(below)?.map(|entry| entry.map(|entry| noted(entry.path()))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_test_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    // A test of this file that takes much longer than the start of its first control plane.
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "two_control_planes_run_side_by_side_and_survive_faults"])
        .env("TMPDIR", temporary.path())
        .env_remove("SQUADCAST_TEST_KEEP")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let (folder, pids) = eventually("the victim's control plane", DEADLINE, async || {
        control_planes(temporary.path()).ok()?.into_iter().find(|(_, pids)| pids.len() == 3)
    })
    .await;
    assert!(pids.iter().all(|&pid| alive(pid)));
    assert!(victim.try_wait().unwrap().is_none(), "the victim ended before it was killed");
    victim.kill().unwrap();
    victim.wait().unwrap();
    gone(&pids, &folder).await;
    // Another one that it had begun to start is gone as well.
    eventually("an empty folder", DEADLINE, async || {
        let left = control_planes(temporary.path()).map_err(|error| error.to_string())?;
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_world_has_what_tests_need() {
    let world = World::bare(ControlPlane::shared(), "world").await;
    install_crd(&world.client, ANY_CREDENTIAL).await;
    world.refresh_token("source", "rt-world").await;
    assert_eq!(world.secret_data("source").await["refresh_token"], "rt-world");
    world.credential("one", "source", "target").await;
    let status = json!({"conditions": [{"type": "Ready", "status": "True", "reason": "TokenValid"}]});
    let params = kube::api::PatchParams::default();
    let patch = kube::api::Patch::Merge(json!({ "status": status }));
    world.credentials().patch_status("one", &params, &patch).await.unwrap();
    assert_eq!(world.wait_ready("one").await["status"], status);
    assert!(world.events("one").await.is_empty());
    world.kubectl_apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: by-kubectl}}");
    world.delete("one").await;
    assert!(world.get("one").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_logged_and_its_exit_code_known() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("program");
    let text = "#!/bin/sh\ntrap 'echo bye >&2; exit 3' TERM\necho \"$1 $A ${KUBECONFIG-none}\"\nwhile :; do sleep 0.05; done\n";
    std::fs::write(&script, text).unwrap();
    Command::new("chmod").arg("+x").arg(&script).status().unwrap();
    let operator = Launch::new(&script).env("A", "b c").start();
    assert_eq!(operator.wait_for_log("run").await, "run b c none");
    operator.sigterm();
    assert_eq!(operator.wait_exit(DEADLINE).await, 3);
    assert_eq!(operator.log_lines().last().unwrap(), "bye");

    let operator = Launch::new(&script).start();
    operator.wait_for_log("run").await;
    let pid = operator.pid();
    operator.kill();
    assert_eq!(operator.wait_exit(DEADLINE).await, 128 + 9);
    assert!(!alive(pid));
}

fn client(standin: &Squadcast) -> reqwest::Client {
    let ca = reqwest::Certificate::from_pem(standin.ca_pem().as_bytes()).unwrap();
    let builder = reqwest::Client::builder().no_proxy().tls_certs_only([ca]).timeout(Duration::from_secs(5));
    builder.redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

async fn exchange(
    client: &reqwest::Client,
    standin: &Squadcast,
    token: &str,
) -> reqwest::Result<reqwest::Response> {
    let url = format!("{}/oauth/access-token", standin.url());
    client.get(url).header("X-Refresh-Token", token).send().await
}

async fn data(client: &reqwest::Client, standin: &Squadcast, token: &str) -> Value {
    let answer = exchange(client, standin, token).await.unwrap().bytes().await.unwrap();
    serde_json::from_slice::<Value>(&answer).unwrap()["data"].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stand_in_mints_and_refuses() {
    let standin = Squadcast::start();
    let client = client(&standin);
    let refused = exchange(&client, &standin, "rt").await.unwrap();
    assert_eq!(refused.status(), 401);
    let meta: Value = serde_json::from_slice(&refused.bytes().await.unwrap()).unwrap();
    assert!(meta["meta"]["error_message"].is_string() && meta["meta"]["status"] == 401);

    let odd = Reply::token().without("type").field("issued_at", json!("x")).refresh_token("rt-2").skew(-100);
    standin
        .script("rt", Script::of([Reply::token().life(60), Reply::token().repeat(), odd, Reply::example()]));
    let first = data(&client, &standin, "rt").await;
    let text = first["access_token"].as_str().unwrap();
    assert_eq!(first["expires_at"].as_i64().unwrap() - first["issued_at"].as_i64().unwrap(), 60);
    assert_eq!(first["refresh_token"], "rt");
    assert_eq!(data(&client, &standin, "rt").await, first);
    let odd = data(&client, &standin, "rt").await;
    assert!(odd.get("type").is_none() && odd["issued_at"] == "x" && odd["refresh_token"] == "rt-2");
    assert!(odd["expires_at"].as_i64() < first["issued_at"].as_i64().map(|at| at + 48 * 3600 - 90));
    assert_eq!(data(&client, &standin, "rt").await["expires_at"], 1_587_412_870);

    assert!(standin.is_good(text) && standin.minted_as("never").is_none());
    assert_eq!(standin.minted("rt").len(), 3);
    standin.revoke("rt");
    assert!(!standin.is_good(text));
    assert_eq!(exchange(&client, &standin, "rt").await.unwrap().status(), 401);
    let requests = standin.requests("rt");
    assert_eq!((requests.len(), requests[5].status), (6, Some(401)));
    assert_eq!(requests[0].tls.as_deref(), Some("TLSv1_3"));
    assert_eq!((requests[0].path.as_str(), requests[0].body.len()), ("/oauth/access-token", 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stand_in_misbehaves_on_demand() {
    let standin = Squadcast::start();
    let client = client(&standin);
    let url = format!("{}/v3/oauth/access-token", standin.url());
    let ask_within = async |patience: Duration, reply: Reply| {
        standin.script("rt", reply);
        let answer = client.get(&url).header("X-Refresh-Token", "rt").timeout(patience).send().await?;
        let head = format!("{} {:?}", answer.status().as_u16(), answer.headers());
        answer.bytes().await.map(|body| (head, body))
    };
    // On a busy machine what comes at once may take a second.
    let ask = async |reply: Reply| ask_within(DEADLINE, reply).await;
    let (head, body) = ask(Reply::html(503).retry_after("soon")).await.unwrap();
    assert!(
        head.starts_with("503") && head.contains(r#""retry-after": "soon""#) && body.starts_with(b"<!DOC")
    );
    let (head, _) = ask(Reply::redirect(302, "https://elsewhere.example/")).await.unwrap();
    assert!(head.starts_with("302") && head.contains("elsewhere"));
    let (head, body) = ask(Reply::token().gzip().no_date()).await.unwrap();
    assert!(head.contains("gzip") && !head.contains("\"date\"") && body.starts_with(&[0x1f, 0x8b]));
    for reply in [Reply::token().size(100_000), Reply::token().size(100_000).chunked()] {
        let (head, body) = ask(reply).await.unwrap();
        assert!(body.len() == 100_000, "{head}");
        assert!(serde_json::from_slice::<Value>(&body).is_ok());
    }
    assert_eq!(ask(Reply::raw(200, "text/plain", [0xff, 0xfe])).await.unwrap().1.as_ref(), [0xff, 0xfe]);
    for cut in [Cut::BeforeHead, Cut::InHead, Cut::InBody] {
        let error = ask(Reply::token().cut(cut)).await.unwrap_err();
        assert!(!error.is_timeout(), "{cut:?}: {error:?}");
    }
    for slow in
        [Reply::silence(), Reply::token().drip(Duration::from_millis(50)), Reply::token().delay(DEADLINE)]
    {
        assert!(ask_within(Duration::from_millis(500), slow).await.unwrap_err().is_timeout());
    }

    let gate = Gate::new();
    standin.script("held", Reply::token().hold(&gate));
    let before = standin.count("held");
    let (one, other, ()) =
        tokio::join!(data(&client, &standin, "held"), data(&client, &standin, "held"), async {
            standin.wait_for_count("held", before + 2, DEADLINE).await;
            assert!(standin.minted("held").is_empty());
            gate.release();
        });
    assert_ne!(one["access_token"], other["access_token"]);
    assert!(standin.most_in_flight() >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stand_in_shows_any_certificate() {
    let older = Squadcast::start_with(Tls::Only12);
    older.accept("rt");
    exchange(&client(&older), &older, "rt").await.unwrap();
    assert_eq!(older.requests("rt")[0].tls.as_deref(), Some("TLSv1_2"));
    for (kind, works) in [
        (Tls::Valid, true),
        (Tls::Off, true),
        (Tls::Expired, false),
        (Tls::WrongHost, false),
        (Tls::UnknownCa, false),
    ] {
        let standin = Squadcast::start_with(kind);
        standin.accept("rt");
        let answer = exchange(&client(&standin), &standin, "rt").await;
        assert_eq!(answer.is_ok(), works, "{kind:?}: {answer:?}");
        assert_eq!(standin.count("rt"), usize::from(works));
    }
    let standin = Squadcast::start();
    standin.accept("rt");
    let old = client(&standin);
    exchange(&old, &standin, "rt").await.unwrap();
    standin.change_ca();
    exchange(&old, &standin, "rt").await.unwrap_err();
    exchange(&client(&standin), &standin, "rt").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_forwards_or_refuses() {
    let standin = Squadcast::start();
    standin.accept("rt");
    let proxied = |proxy: &Proxy| {
        let ca = reqwest::Certificate::from_pem(standin.ca_pem().as_bytes()).unwrap();
        let proxy = reqwest::Proxy::all(proxy.url()).unwrap();
        reqwest::Client::builder().tls_certs_only([ca]).proxy(proxy).build().unwrap()
    };
    let proxy = Proxy::start();
    exchange(&proxied(&proxy), &standin, "rt").await.unwrap();
    assert_eq!(proxy.connects(), [standin.url().trim_start_matches("https://")]);
    let proxy = Proxy::refusing(407, "text/html", "<p>Who are you?</p>");
    exchange(&proxied(&proxy), &standin, "rt").await.unwrap_err();
    assert_eq!((proxy.connects().len(), standin.count("rt")), (1, 1));
}

/// A definition of the same name that takes anything.
const ANY_CREDENTIAL: &str = r"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: squadcastcredentials.credentials.squadcast.com}
spec:
  group: credentials.squadcast.com
  names: {kind: SquadcastCredential, plural: squadcastcredentials, singular: squadcastcredential}
  scope: Namespaced
  versions:
    - name: v1alpha1
      served: true
      storage: true
      subresources: {status: {}}
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";
