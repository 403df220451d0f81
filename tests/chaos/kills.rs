//! SIGKILL at random moments, many times, while tokens are renewed all the time: nothing is lost, no
//! status is wrong, and each kill repeats at most the one exchange that a resource had in flight.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::join_all;
use jiff::Timestamp;
use kube::runtime::watcher::{self, Event};
use serde_json::{Value, json};

use crate::OPERATOR;
use crate::setting;
use crate::steps::conditions;
use crate::support::squadcast::Recorded;
use crate::support::world::{REGION, World, condition};
use crate::support::{DEADLINE, Reply, eventually};

/// Worlds side by side, each with a process that is killed.
const WORLDS: usize = 4;
/// Resources in each; every second one has its refresh token replaced at each exchange.
const RESOURCES: usize = 24;
const LIFE: i64 = 120;
/// A token is renewed so long after its issue, less a tenth at most.
const RENEWAL: i64 = 10;

/// Numbers that look random, the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        // Steele, Lea and Flood's splitmix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// What the cluster showed all the time, on watches of the test's own.
#[derive(Default)]
struct Seen {
    /// Every access token that was ever in a target.
    landed: HashSet<String>,
    wrong: Vec<String>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Figures {
    kills: usize,
    exchanges: usize,
    extra: usize,
    most_at_once: usize,
    lost: usize,
    wrong: usize,
    window: usize,
}

fn rotates(name: &str) -> bool {
    name.ends_with('w')
}

fn names() -> Vec<String> {
    (0..RESOURCES).map(|n| format!("r{n:02}{}", if n % 2 == 0 { "i" } else { "w" })).collect()
}

/// The resource for which this refresh token was sent.
fn owner(request: &Recorded) -> &str {
    request.refresh_token.trim_start_matches("rt-").split('~').next().unwrap_or_default()
}

async fn setup(world: &World) {
    for name in names() {
        let token = format!("rt-{name}");
        let reply = Reply::token().life(LIFE);
        world.squadcast.script(&token, if rotates(&name) { reply.rotates() } else { reply });
        world.put_secret(&format!("{name}-source"), &[("refresh_token", &token)]).await;
        let rotation = if rotates(&name) { "WriteBack" } else { "Ignore" };
        let spec = json!({
            "region": REGION,
            "refreshTokenSecretRef": { "name": format!("{name}-source") },
            "refreshTokenRotation": rotation,
            "target": { "name": format!("{name}-target") },
            "renewBefore": format!("{}s", LIFE - RENEWAL),
        });
        world.apply(&name, spec).await;
    }
}

fn locked(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes what lands in targets and what no status may say.
async fn look_on(world: &World, seen: &Mutex<Seen>) {
    let mut secrets = watcher::watcher(world.secrets(), watcher::Config::default()).boxed();
    let mut resources = watcher::watcher(world.credentials(), watcher::Config::default()).boxed();
    loop {
        tokio::select! {
            Some(Ok(Event::Apply(secret) | Event::InitApply(secret))) = secrets.next() => {
                if let Some(token) = secret.data.as_ref().and_then(|data| data.get("access_token")) {
                    locked(seen).landed.insert(String::from_utf8_lossy(&token.0).into_owned());
                }
            }
            Some(Ok(Event::Apply(object) | Event::InitApply(object))) = resources.next() => {
                let resource = serde_json::to_value(&object).unwrap();
                locked(seen).wrong.extend(contradiction(world, &resource));
            }
            else => {}
        }
    }
}

/// Nothing but kills happens: every status says that all is well, or that the one thing happened that may.
fn contradiction(world: &World, resource: &Value) -> Option<String> {
    let name = resource["metadata"]["name"].as_str()?;
    let said = conditions(resource);
    let lost = rotates(name) && said.contains("RefreshTokenRejected");
    if !(said.is_empty() || said == "Ready=True TokenValid, Synced=True Synced" || lost) {
        return Some(format!("{name}: {}", resource["status"]));
    }
    if condition(resource, "Ready").is_some_and(|ready| ready["status"] == "True") {
        let told = resource["status"]["expiresAt"].as_str()?.parse::<Timestamp>().ok()?.as_second();
        let own = |request: &Recorded| owner(request) == name;
        let all = world.squadcast.all_requests();
        let minted =
            all.iter().filter(|r| own(r)).filter_map(|r| world.squadcast.minted_as(r.minted.as_deref()?));
        if !minted.into_iter().any(|minted| minted.expires_at == told) {
            return Some(format!("{name} tells of a token that was never minted: {}", resource["status"]));
        }
    }
    None
}

/// A person stores the good refresh token where Squadcast had replaced it and the process died before it was
/// stored. Notes the access tokens that came with those: the process must have died before it used them.
async fn store_what_was_lost(world: &World, window: &mut Vec<String>) {
    for name in names().iter().filter(|name| rotates(name)) {
        let rejected =
            world.condition(name, "Synced").await.is_some_and(|c| c["reason"] == "RefreshTokenRejected");
        let source = format!("{name}-source");
        let stored = world.secret_data(&source).await.remove("refresh_token").unwrap_or_default();
        let newest = world.squadcast.newest(&stored);
        let all = world.squadcast.all_requests();
        let with: Vec<_> = all.iter().filter(|request| request.refresh_token == stored).collect();
        // The status is of the last attempt: while the next is under way, what it has just had replaced is not lost.
        let refused = with.iter().any(|request| request.status == Some(401));
        if rejected && refused && newest != stored {
            let minted: Vec<_> = with.iter().filter_map(|request| request.minted.clone()).collect();
            assert!(!minted.is_empty(), "{name}: nothing came for the refresh token that it holds");
            window.extend(minted);
            world.put_secret(&source, &[("refresh_token", &newest)]).await;
        }
    }
}

async fn killed_again_and_again(number: usize, kills: usize, start: u64) -> Figures {
    let world = Arc::new(World::new(&format!("kills-{number}")).await);
    setup(&world).await;
    let seen = Arc::new(Mutex::new(Seen::default()));
    let watching = tokio::spawn({
        let (world, seen) = (world.clone(), seen.clone());
        async move { look_on(&world, &seen).await }
    });
    let mut random = Random(start.wrapping_add(number as u64));
    let (mut lives, mut window, mut figures) = (Vec::new(), Vec::new(), Figures::default());
    for kill in 0..kills {
        lives.push(Instant::now());
        let operator = world.launch(OPERATOR).start();
        // Every second one at work, the others wherever they are.
        if kill % 2 == 0 {
            operator.wait_ready().await;
        }
        tokio::time::sleep(Duration::from_millis(random.below(800))).await;
        tokio::task::block_in_place(|| operator.kill());
        if kill % 10 == 9 {
            store_what_was_lost(&world, &mut window).await;
        }
    }
    let last = Instant::now();
    let operator = world.operator(OPERATOR, &[]).await;
    settle(&world, &mut figures, &mut window).await;
    drop(operator);
    // The tests' own watch may be a moment behind.
    eventually("the watch to have seen the last tokens", DEADLINE, async || {
        let mut last = Vec::new();
        for name in names() {
            last.push(world.secret_data(&format!("{name}-target")).await.remove("access_token").unwrap());
        }
        last.iter().all(|token| locked(&seen).landed.contains(token))
    })
    .await;
    watching.abort();
    // What was written into a target was written into the source before, or it was not the kill that lost it.
    let used: Vec<_> = window.iter().filter(|token| locked(&seen).landed.contains(*token)).collect();
    assert!(used.is_empty(), "written into a target, and its refresh token nowhere: {used:?}");
    figures.window = window.len();
    figures.kills = kills;
    lives.push(last);
    count(&world, &locked(&seen), &lives, &mut figures);
    figures
}

/// Waits until each resource has been well again; those that do not become so are lost.
async fn settle(world: &World, figures: &mut Figures, window: &mut Vec<String>) {
    let deadline = Instant::now() + DEADLINE;
    let mut ill = names();
    while !ill.is_empty() && Instant::now() < deadline {
        store_what_was_lost(world, window).await;
        let well = join_all(ill.iter().map(async |name| is_well(world, name).await)).await;
        let mut well = well.into_iter();
        ill.retain(|_| well.next() == Some(false));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    figures.lost = ill.len();
}

/// It is ready with a token that Squadcast takes, and that is the one that its status tells of.
async fn is_well(world: &World, name: &str) -> bool {
    let resource = world.get(name).await.unwrap();
    let token = world.secret_data(&format!("{name}-target")).await.remove("access_token").unwrap_or_default();
    let minted = world.squadcast.minted_as(&token).map(|minted| minted.expires_at);
    let told = resource["status"]["expiresAt"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
    world.squadcast.is_good(&token)
        && told.map(Timestamp::as_second) == minted
        && conditions(&resource) == "Ready=True TokenValid, Synced=True Synced"
}

/// Compares what Squadcast was asked with what landed. `lives` is when each process began, the last one not killed.
fn count(world: &World, seen: &Seen, lives: &[Instant], figures: &mut Figures) {
    let all = world.squadcast.all_requests();
    let mut of: BTreeMap<&str, Vec<&Recorded>> = BTreeMap::new();
    for request in &all {
        of.entry(owner(request)).or_default().push(request);
    }
    figures.exchanges = all.len();
    figures.wrong = seen.wrong.len();
    assert_eq!(seen.wrong, Vec::<String>::new());
    let landed =
        |request: &&Recorded| request.minted.as_ref().is_some_and(|token| seen.landed.contains(token));
    let rejected = |request: &&Recorded| request.status == Some(401);
    let mut at_kill = vec![0; lives.len()];
    for (name, requests) in &of {
        let mut due = 0;
        let mut last_expiry = i64::MAX;
        for request in requests {
            // A renewal does not come early, whoever was killed when.
            let at = Timestamp::try_from(request.wall).unwrap().as_second();
            assert!(at >= due, "{name}: an exchange {} s early", due - at);
            let minted = request.minted.as_deref().and_then(|token| world.squadcast.minted_as(token));
            match minted.filter(|_| landed(request)) {
                Some(minted) => {
                    let gap = rotates(name) || at <= last_expiry;
                    assert!(gap, "{name}: the token expired before it was renewed");
                    last_expiry = minted.expires_at;
                    due = minted.issued_at + RENEWAL - RENEWAL / 10 - 1;
                }
                None if rejected(request) => due = 0,
                None => {}
            }
        }
        // At most one of each process. What it sent may arrive when it is dead already and the next one begins.
        let unused: Vec<_> = requests.iter().filter(|r| !landed(r) && !rejected(r)).collect();
        let mut used_up = 0;
        for request in &unused {
            let life = lives.partition_point(|began| *began <= request.at).saturating_sub(1);
            let of = if life > used_up { life - 1 } else { life };
            assert!(of >= used_up && of < at_kill.len(), "{name}: more for nothing than kills: {unused:#?}");
            at_kill[of] += 1;
            used_up = of + 1;
        }
    }
    let unused = all.iter().filter(|r| !landed(r) && !rejected(r)).count();
    figures.extra = at_kill.iter().sum();
    figures.most_at_once = at_kill.into_iter().max().unwrap_or_default();
    assert_eq!(unused, figures.extra, "an exchange was made for nothing without a kill");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn kills_at_random_lose_nothing_and_repeat_only_what_was_in_flight() {
    let kills = usize::try_from(setting("KILLS", 60)).unwrap();
    let seed = setting("SEED", u64::from(std::process::id()));
    println!("{kills} kills in {WORLDS} worlds of {RESOURCES} resources, SEED={seed}");
    let each =
        join_all((0..WORLDS).map(|world| killed_again_and_again(world, kills.div_ceil(WORLDS), seed))).await;
    let sum = |figure: fn(&Figures) -> usize| each.iter().map(figure).sum::<usize>();
    let (lost, wrong) = (sum(|f| f.lost), sum(|f| f.wrong));
    println!(
        "random: kills {}, lost {lost}, wrong states {wrong}, extra exchanges {} of {} (at most one a resource and kill, {} at one kill), rotated refresh tokens lost in the window {}",
        sum(|f| f.kills),
        sum(|f| f.extra),
        sum(|f| f.exchanges),
        each.iter().map(|f| f.most_at_once).max().unwrap_or_default(),
        sum(|f| f.window),
    );
    assert_eq!((lost, wrong), (0, 0));
}
