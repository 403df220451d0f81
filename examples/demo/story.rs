//! The story that the demo tells, a step at a time.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use crate::Result;
use crate::shell::Following;
use crate::stage::Stage;
use crate::support::squadcast::CANARY;
use crate::support::{Reply, Squadcast};

/// How long the stand-in's access tokens live, in seconds: long enough for an outage, short enough to see a renewal.
pub const LIFE: i64 = 60;

const FIRST: &str = "demo-refresh-token-first";
const SECOND: &str = "demo-refresh-token-second";
/// The service mints at once and the operator acts within seconds; the rest is for a slow machine.
const BOUND: Duration = Duration::from_secs(30);

const EXPIRY: &str = r#"kubectl get secret squadcast-token -o jsonpath='{.metadata.annotations.credentials\.squadcast\.com/expires-at}{"\n"}'"#;
const READY_SINCE: &str = r#"kubectl get sqc squadcast -o jsonpath='Ready since {.status.conditions[?(@.type=="Ready")].lastTransitionTime}{"\n"}'"#;

/// Announces steps, counting them; in bold type where that is wanted.
struct Steps(u32, bool);

impl Steps {
    fn next(&mut self, what: &str) {
        self.0 += 1;
        let (bold, plain) = if self.1 { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        println!("\n{bold}{}. {what}{plain}", self.0);
    }
}

pub async fn tell(stage: &mut Stage) -> Result<()> {
    let mut steps = Steps(0, std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    set_up(stage, &mut steps).await?;
    first_token(stage, &mut steps).await?;
    edited_secret(stage, &mut steps).await?;
    let since = renewal(stage, &mut steps).await?;
    outage(stage, &mut steps, &since).await?;
    revocation(stage, &mut steps, &since).await?;
    recovery(stage, &mut steps).await?;
    no_token_told(stage, &mut steps).await
}

async fn set_up(stage: &mut Stage, steps: &mut Steps) -> Result<()> {
    steps.next(
        "etcd, kube-apiserver and kube-controller-manager run, and a stand-in for Squadcast's auth service.",
    );
    println!("{}, the stand-in at {}", stage.kubernetes().await?, stage.squadcast.url());
    steps.next("Install the definition of the resource.");
    stage.shell.run("kubectl apply -f crds/squadcastcredentials.yaml").await?;
    // Not by `kubectl wait`, which fails on a definition that has no conditions yet.
    until("the resource was not served", async || Ok(stage.is_served().await)).await?;
    steps.next("Start the operator.");
    stage.start_operator().await;
    Ok(())
}

async fn first_token(stage: &Stage, steps: &mut Steps) -> Result<()> {
    let shell = &stage.shell;
    steps.next("Keep the refresh token in a Secret, made from a file, and ask for an access token.");
    accept(&stage.squadcast, FIRST);
    stage.write("refresh-token.txt", FIRST)?;
    shell
        .run("kubectl create secret generic squadcast-refresh-token --from-file=refresh_token=refresh-token.txt")
        .await?;
    shell.run("grep -v '^#' deploy/samples/basic.yaml").await?;
    shell.run("kubectl apply -f deploy/samples/basic.yaml").await?;
    shell.run("kubectl wait --for=condition=Ready sqc/squadcast --timeout=30s").await?;
    shell.run("kubectl get sqc").await?;
    steps.next("Look at the Secret: its keys and what the operator notes on it. kubectl masks the values.");
    shell.run("kubectl describe secret squadcast-token").await?;
    if !stage.token_is_good().await? {
        return Err("the Secret holds no token that the service minted".into());
    }
    Ok(())
}

async fn edited_secret(stage: &Stage, steps: &mut Steps) -> Result<()> {
    steps.next("Somebody edits the token. The operator sees it and puts a new one in its place.");
    let asked = stage.squadcast.count(FIRST);
    stage
        .shell
        .run(r#"kubectl patch secret squadcast-token -p '{"stringData":{"access_token":"edited"}}'"#)
        .await?;
    let began = Instant::now();
    let repaired = async || Ok(stage.squadcast.count(FIRST) > asked && stage.is_settled().await?);
    until("the edited Secret was not repaired", repaired).await?;
    println!(
        "Repaired after {:.1} s; exchanges of a resource are at least 5 s apart.",
        began.elapsed().as_secs_f32()
    );
    stage.shell.run("kubectl describe secret squadcast-token | grep bytes").await?;
    Ok(())
}

/// Answers with the time since when Ready is True.
async fn renewal(stage: &mut Stage, steps: &mut Steps) -> Result<String> {
    steps.next(
        "Kill the operator and start it again. The Secret tells it that all is well: it asks for nothing.",
    );
    let asked = stage.squadcast.count(FIRST);
    let since = stage.condition("Ready", "lastTransitionTime").await?;
    stage.kill_operator();
    stage.start_operator().await;
    steps.next(
        "Wait for the renewal, when two thirds of the token's life have passed or a little less: up to 40 s.",
    );
    let shell = &stage.shell;
    let expiry = shell.run(EXPIRY).await?;
    let old = stage.credential().await?["status"]["expiresAt"].as_str().unwrap_or("no expiry").to_owned();
    let mut rows = shell.follow("kubectl get sqc squadcast --watch")?;
    let renewed = timeout(BOUND * 2, until_renewed(&mut rows, &old)).await;
    renewed.map_err(|_| "the token was not renewed within 60 s")??;
    rows.end().await?;
    println!("The Secret's expiry has moved, and Ready has been True all the time:");
    if shell.run(EXPIRY).await? == expiry {
        return Err("the Secret still has the old expiry".into());
    }
    shell.run(READY_SINCE).await?;
    must_be_ready(stage, &since, "during the renewal").await?;
    match stage.squadcast.count(FIRST) - asked {
        1 => Ok(since),
        exchanges => Err(format!("the renewal took {exchanges} exchanges, not 1").into()),
    }
}

/// Follows the rows that kubectl prints until one has another expiry.
async fn until_renewed(rows: &mut Following, old: &str) -> Result<()> {
    let _header = rows.next().await?;
    loop {
        let row = rows.next().await?;
        if row.split_whitespace().nth(1) != Some("True") {
            return Err("Ready was not True throughout the renewal".into());
        }
        if !row.contains(old) {
            return Ok(());
        }
    }
}

async fn outage(stage: &Stage, steps: &mut Steps, since: &str) -> Result<()> {
    steps.next("The auth service breaks down (503) as a renewal is asked for: Ready stays, Synced tells.");
    stage.squadcast.script(FIRST, Reply::error(503));
    ask(stage, "during-the-outage").await?;
    wait_for_synced(stage, "ServiceUnavailable").await?;
    stage.shell.run("kubectl get sqc").await?;
    must_be_ready(stage, since, "during the outage").await?;
    steps.next("The service is back: the operator's next try succeeds.");
    accept(&stage.squadcast, FIRST);
    stage.shell.run("kubectl wait --for=condition=Synced sqc/squadcast --timeout=50s").await?;
    must_be_ready(stage, since, "after the outage").await
}

async fn revocation(stage: &Stage, steps: &mut Steps, since: &str) -> Result<()> {
    let shell = &stage.shell;
    steps.next(
        "The refresh token is revoked. Squadcast's first refusal ends only Synced: it may be a mistake.",
    );
    stage.squadcast.revoke(FIRST);
    ask(stage, "after-the-revocation").await?;
    wait_for_synced(stage, "RefreshTokenRejected").await?;
    shell.run("kubectl get sqc").await?;
    must_be_ready(stage, since, "after the first refusal").await?;
    steps.next(
        "The second refusal confirms it (it would be tried after 60 s; we do not wait): Ready is False.",
    );
    ask(stage, "to-confirm").await?;
    shell.run("kubectl wait --for=condition=Ready=False sqc/squadcast --timeout=30s").await?;
    shell.run("kubectl get sqc").await?;
    let reason = stage.condition("Ready", "reason").await?;
    if reason != "RefreshTokenRejected" {
        return Err(format!("Ready is False for the reason {reason:?}, not RefreshTokenRejected").into());
    }
    steps.next("What the resource says to whoever has to act:");
    shell.run("kubectl describe sqc squadcast | sed -n '/^Status:/,$p'").await?;
    Ok(())
}

async fn recovery(stage: &Stage, steps: &mut Steps) -> Result<()> {
    let shell = &stage.shell;
    steps.next("A new refresh token in the Secret is all it takes.");
    accept(&stage.squadcast, SECOND);
    stage.write("refresh-token.txt", SECOND)?;
    shell
        .run("kubectl create secret generic squadcast-refresh-token --from-file=refresh_token=refresh-token.txt --dry-run=client -o yaml | kubectl replace -f -")
        .await?;
    shell.run("kubectl wait --for=condition=Ready sqc/squadcast --timeout=30s").await?;
    shell.run("kubectl get sqc").await?;
    if !stage.token_is_good().await? {
        return Err("the Secret holds no token of the new refresh token".into());
    }
    Ok(())
}

async fn no_token_told(stage: &Stage, steps: &mut Steps) -> Result<()> {
    steps.next("The events of all this. No token is in them, in the resource or in the operator's log.");
    let events = stage.shell.run("kubectl events --for squadcastcredential/squadcast").await?;
    let resource = stage.credential().await?.to_string();
    for (place, text) in [("the events", events), ("the resource", resource), ("the log", stage.log())] {
        if [FIRST, SECOND, CANARY].iter().any(|token| text.contains(token)) {
            return Err(format!("there is a token in {place}").into());
        }
    }
    Ok(())
}

/// Lets the service mint for this refresh token.
fn accept(squadcast: &Squadcast, refresh_token: &str) {
    squadcast.script(refresh_token, Reply::token().life(LIFE));
}

/// Asks for an exchange now.
async fn ask(stage: &Stage, when: &str) -> Result<()> {
    let annotation = format!("credentials.squadcast.com/renew-requested-at={when}");
    stage.shell.run(&format!("kubectl annotate sqc squadcast --overwrite {annotation}")).await?;
    Ok(())
}

async fn wait_for_synced(stage: &Stage, reason: &str) -> Result<()> {
    let path = r#"{.status.conditions[?(@.type=="Synced")].reason}"#;
    stage
        .shell
        .run(&format!("kubectl wait --for=jsonpath='{path}'={reason} sqc/squadcast --timeout=30s"))
        .await?;
    Ok(())
}

/// Fails where Ready is not True, or was not for a while.
async fn must_be_ready(stage: &Stage, since: &str, when: &str) -> Result<()> {
    let status = stage.condition("Ready", "status").await?;
    if status != "True" || stage.condition("Ready", "lastTransitionTime").await? != since {
        return Err(format!("Ready did not stay True {when}").into());
    }
    Ok(())
}

/// Looks again and again, up to the bound.
async fn until(otherwise: &str, look: impl AsyncFn() -> Result<bool>) -> Result<()> {
    let came = timeout(BOUND, async {
        while !look().await? {
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    });
    came.await.map_err(|_| format!("{otherwise} within {} s", BOUND.as_secs()))?
}
