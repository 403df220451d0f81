//! Squadcast out of reach for long, and behind a proxy that asks for a password.

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::json;

use crate::OPERATOR;
use crate::steps::{conditions, message};
use crate::support::world::{REGION, World, condition};
use crate::support::{DEADLINE, Operator, Proxy, Reply, Tls, eventually};

/// A life of 48 hours and an outage of 15, scaled down as far as a back-off of half a minute allows.
const LIFE: i64 = 90;
const OUTAGE: Duration = Duration::from_secs(40);

/// What begins a kind of trouble.
type Trouble<'a> = Box<dyn Fn() + Send + Sync + 'a>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_stay_good_through_an_outage_of_nearly_half_their_life() {
    let world = World::new("long-outage").await;
    let names: Vec<_> = (0..8).map(|number| format!("r{number}")).collect();
    let script = |reply: &Reply| {
        for name in &names {
            world.squadcast.script(&format!("rt-{name}"), reply.clone());
        }
    };
    script(&Reply::token().life(LIFE));
    let operator = world.operator(OPERATOR, &["--exchange-timeout=3s"]).await;
    for name in &names {
        world.put_secret(&format!("{name}-source"), &[("refresh_token", &format!("rt-{name}"))]).await;
        let spec = json!({
            "region": REGION,
            "refreshTokenSecretRef": { "name": format!("{name}-source") },
            "target": { "name": format!("{name}-target") },
            "renewBefore": format!("{}s", LIFE - 10),
        });
        world.apply(name, spec).await;
    }
    join_all(names.iter().map(|name| world.wait_ready(name))).await;

    let began = Instant::now();
    // One kind of trouble after the other, a fourth of the time each.
    let kinds: [Trouble<'_>; 4] = [
        Box::new(|| script(&Reply::error(503))),
        Box::new(|| script(&Reply::silence())),
        Box::new(|| script(&Reply::token().life(LIFE).drip(Duration::from_secs(1)))),
        Box::new(|| world.squadcast.change_certificate(Tls::Expired)),
    ];
    let mut looks = 0;
    let asked = world.squadcast.all_requests().len();
    let mut failing = 0;
    for (number, begin) in (1u32..).zip(&kinds) {
        begin();
        while began.elapsed() < OUTAGE / 4 * number {
            for name in &names {
                let resource = world.get(name).await.unwrap();
                let ready = condition(&resource, "Ready").unwrap();
                assert_eq!(
                    ready["status"],
                    "True",
                    "{name} after {:?}: {}",
                    began.elapsed(),
                    resource["status"]
                );
                failing += usize::from(conditions(&resource).contains("Synced=False"));
                looks += 1;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    let asked = world.squadcast.all_requests().len() - asked;
    world.squadcast.change_certificate(Tls::Valid);
    script(&Reply::token().life(LIFE));
    let over = Instant::now();
    for name in &names {
        world.wait_for(name, "Synced", "True", "Synced").await;
        assert!(world.condition(name, "Ready").await.is_some_and(|ready| ready["status"] == "True"));
    }
    println!(
        "Squadcast away for {} s of a life of {LIFE} s: ready in {looks} looks of {looks}, {asked} requests for {} resources, renewed {:.1} s after it",
        OUTAGE.as_secs(),
        names.len(),
        over.elapsed().as_secs_f64()
    );
    assert!(failing > 0, "the outage was noticed");
    // A renewal, and retries after 5, 10 and 20 s; those with an expired certificate bring no request.
    assert!(asked <= names.len() * 5, "{asked}");
    assert_eq!(operator.exit_code(), None);
}

/// What nobody may see.
const USER_INFO: [&str; 2] = ["alice", "hunter2"];

async fn start(world: &World, proxy: &Proxy, no_proxy: &str) -> Operator {
    let url = world.squadcast.url().replace("127.0.0.1", "localhost");
    let secret = proxy.url().replace("://", &format!("://{}@", USER_INFO.join(":")));
    let operator = world
        .launch(OPERATOR)
        .arg(format!("--region={REGION}={url}"))
        .arg("--region=nowhere=https://squadcast.invalid")
        .arg("--log-filter=debug")
        .env("HTTPS_PROXY", secret)
        .env("NO_PROXY", no_proxy)
        .start();
    operator.wait_ready().await;
    operator
}

#[tokio::test]
async fn a_proxy_is_used_passed_by_and_named_without_its_password() {
    let world = World::new("proxy").await;
    let host = world.squadcast.url().replace("https://127.0.0.1", "localhost");
    let mut said = String::new();

    // What is asked of the API server goes through it too; what counts is the way to Squadcast.
    let proxy = Proxy::start();
    let used = || proxy.connects().iter().filter(|connect| **connect == host).count();
    let operator = start(&world, &proxy, "").await;
    world.refresh_token("through", "rt-through").await;
    world.credential("through", "through", "through-target").await;
    world.wait_ready("through").await;
    assert_eq!(used(), 1);
    let nowhere = json!({
        "region": "nowhere", "refreshTokenSecretRef": { "name": "through" }, "target": { "name": "nowhere-target" },
    });
    world.apply("nowhere", nowhere).await;
    let told = world.wait_for("nowhere", "Synced", "False", "ConnectionFailed").await;
    assert!(message(&told, "Synced").contains(&proxy.url()), "{told}");
    said += &told.to_string();
    said += &(operator.log() + &operator.metrics());
    drop(operator);

    let operator = start(&world, &proxy, "localhost").await;
    world.refresh_token("past", "rt-past").await;
    world.credential("past", "past", "past-target").await;
    world.wait_ready("past").await;
    assert_eq!(
        proxy.connects().iter().filter(|connect| **connect == host).count(),
        1,
        "not through the proxy"
    );
    said += &(operator.log() + &operator.metrics());
    drop(operator);

    let refusing = Proxy::refusing_one(&host, 407);
    let operator = start(&world, &refusing, "").await;
    world.refresh_token("refused", "rt-refused").await;
    world.credential("refused", "refused", "refused-target").await;
    let told = world.wait_for("refused", "Synced", "False", "ConnectionFailed").await;
    let words = message(&told, "Synced");
    assert!(words.contains(&format!("through the proxy {}", refusing.url())), "{words}");
    eventually("an event", DEADLINE, async || !world.events("refused").await.is_empty()).await;
    assert_eq!(world.squadcast.count("rt-refused"), 0);
    said += &(operator.log() + &operator.metrics() + &told.to_string());
    for name in ["through", "past", "refused", "nowhere"] {
        world.events(name).await.into_iter().filter_map(|event| event.note).for_each(|note| said += &note);
    }
    for word in USER_INFO {
        assert!(!said.contains(word), "{word} is told");
    }
}
