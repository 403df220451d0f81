//! What people paste: the commands of the notes and of the documentation, run by a shell as they are written.

use std::os::unix::fs::symlink;
use std::process::Command;

use serde_json::{Value, json};

use crate::lifecycle::empty_cluster;
use crate::release::{Release, file, with};
use crate::support::controlplane::{binaries, helm, repository};
use crate::support::world::World;
use crate::support::{DEADLINE, Operator, eventually};

/// A folder with the chart and a refresh token in it, where somebody stands who has kubectl and helm.
struct Shell {
    folder: tempfile::TempDir,
    kubeconfig: String,
}

impl Shell {
    fn new(world: &World) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, program) in [("kubectl", binaries().join("kubectl")), ("helm", helm::program())] {
            symlink(program, folder.path().join(name)).unwrap();
        }
        symlink(repository().join("charts"), folder.path().join("charts")).unwrap();
        Self { folder, kubeconfig: world.plane.admin_kubeconfig().display().to_string() }
    }

    /// The refresh token to store.
    fn holds(&self, refresh_token: &str) {
        std::fs::write(self.folder.path().join("refresh-token.txt"), refresh_token).unwrap();
    }

    /// Runs this; what it prints.
    fn paste(&self, text: &str) -> String {
        let path = format!("{}:{}", self.folder.path().display(), std::env::var("PATH").unwrap());
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", text])
            .current_dir(&self.folder)
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.folder.path())
            .env("KUBECONFIG", &self.kubeconfig)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr);
        // Also what bash only warns of, as a here document that does not end.
        assert!(
            output.status.success() && !complaint.contains("warning: here-document"),
            "{text}\n{said}{complaint}"
        );
        said
    }
}

/// The commands of a section of a document, of which one contains this.
fn commands(path: &str, heading: &str, part: &str) -> String {
    let text = file(path);
    let start = text.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("{path}: no {heading}"));
    let blocks = text[start..].split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let block = blocks.into_iter().find(|block| block.contains(part));
    block.unwrap_or_else(|| panic!("{path}: no {part} under {heading}")).to_owned()
}

/// A release of the documentation's name, and its namespace `team`.
async fn documented() -> (World, Release) {
    let plane = empty_cluster();
    let mut world = World::bare(&plane, "unused").await;
    world.kubectl(&["create", "namespace", "team"]);
    "team".clone_into(&mut world.namespace);
    let release = Release::new(&plane, "squadcast-operator", "squadcast-operator");
    release.apply(&json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": "authorities" },
        "data": { "ca.crt": world.squadcast.ca_pem() },
    }));
    (world, release)
}

/// Values with which the stand-in is region `us`.
fn values(world: &World) -> Value {
    json!({
        "namespaces": ["team"],
        "regions": { "us": { "authUrl": world.squadcast.url() } },
        "caBundle": { "configMap": "authorities" },
        "requireSourceLabel": true,
    })
}

async fn leading(release: &Release) -> Operator {
    let operator = release.operator().await;
    operator.wait_for_log("leading").await;
    operator
}

#[tokio::test(flavor = "multi_thread")]
async fn the_notes_lead_to_a_first_token() {
    let (world, release) = documented().await;
    for more in [json!({}), json!({ "selector": "!other" })] {
        let _ = release.helm(&["uninstall", &release.name, "--ignore-not-found"], &Value::Null);
        let notes = release.install(&with(values(&world), more));
        let operator = leading(&release).await;
        world.squadcast.accept("rt-first");
        let shell = Shell::new(&world);
        shell.holds("rt-first");
        let steps = notes.split_once("\n2. ").and_then(|(_, rest)| rest.split_once("\n4. ")).expect(&notes).0;
        // What is between the commands is for people.
        let prose = |line: &&str| line.starts_with("3. ") || line.starts_with("Store a refresh token");
        let pasted: Vec<&str> = steps.lines().filter(|line| !prose(line)).collect();
        shell.paste(&pasted.join("\n"));
        assert!(world.squadcast.is_good(&world.secret_data("squadcast-token").await["access_token"]));
        shell.paste("kubectl -n team delete sqc,secret --all");
        operator.sigterm();
        operator.wait_exit(DEADLINE).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_runbooks_commands_mend_and_lose_nothing() {
    let (world, release) = documented().await;
    release.install(&values(&world));
    let operator = leading(&release).await;
    let shell = Shell::new(&world);
    world.squadcast.accept("rt-old");
    world
        .apply_secret(
            "squadcast-refresh-token",
            json!({
                "metadata": {
                    "labels": { "credentials.squadcast.com/refresh-token": "true", "team": "pager" },
                    "annotations": { "example.com/from": "somewhere" },
                },
                "stringData": { "refresh_token": "rt-old", "note": "kept" },
            }),
        )
        .await;
    world.workload("Deployment", "consumer");
    let spec = json!({
        "region": "us",
        "refreshTokenSecretRef": { "name": "squadcast-refresh-token" },
        "target": { "name": "squadcast-token" },
        "rolloutRestartTargets": [{ "kind": "Deployment", "name": "consumer" }],
    });
    world.apply("squadcast", spec).await;
    world.wait_ready("squadcast").await;

    // To look.
    let runbook = |heading: &str, part: &str| commands("docs/reasons.md", heading, part);
    let seen = shell.paste(&runbook("## Where to look first", "describe"));
    assert!(seen.contains("TokenValid"), "{seen}");
    let seen = shell.paste(&runbook("### `READY` is empty", "lease"));
    assert!(seen.contains("--namespaces=team"), "{seen}");
    let seen = shell.paste(&commands("docs/alerts.md", "### SquadcastOperatorAbsent", "events"));
    assert!(seen.contains("pod/"), "{seen}");
    let lease = commands("docs/alerts.md", "### SquadcastOperatorNotLeading", "lease");
    let seen = shell.paste(lease.lines().next().unwrap());
    assert_eq!(seen.split_whitespace().count(), 2, "holder and time: {seen}");

    // A renewal now, which shows that the right to restart is lacking; and the right, with all else as it was.
    shell.paste(&runbook("## Where to look first", "renew-requested-at"));
    world.wait_for("squadcast", "Synced", "False", "RolloutRestartFailed").await;
    assert_eq!(world.squadcast.count("rt-old"), 2);
    let before = release.args().await;
    shell.paste(&runbook("### RolloutRestartFailed", "helm upgrade"));
    assert_eq!(release.args().await, before);
    world.wait_for("squadcast", "Synced", "True", "Synced").await;

    // Another refresh token, after a revocation and on purpose.
    for (token, pasted) in [
        ("rt-second", runbook("### RefreshTokenRejected", "refresh-token.txt")),
        ("rt-third", commands("docs/operations.md", "## Rotate the refresh token", "refresh-token.txt")),
    ] {
        world.squadcast.accept(token);
        shell.holds(token);
        // Only to watch, for ever.
        shell.paste(&pasted.replace("kubectl -n team get sqc -w\n", ""));
        let exchanged = async || {
            let seen = world.squadcast.count(token);
            if seen == 1 { Ok(()) } else { Err(format!("{seen} exchanges of {token}")) }
        };
        eventually("an exchange", DEADLINE, exchanged).await;
        world.wait_for("squadcast", "Synced", "True", "Synced").await;
        let secret = world.secret("squadcast-refresh-token").await.unwrap();
        let labels = secret.metadata.labels.unwrap_or_default();
        assert_eq!(labels.keys().collect::<Vec<_>>(), ["credentials.squadcast.com/refresh-token", "team"]);
        assert_eq!(secret.metadata.annotations.unwrap_or_default()["example.com/from"], "somewhere");
        let data = world.secret_data("squadcast-refresh-token").await;
        assert_eq!((&*data["refresh_token"], &*data["note"]), (token, "kept"));
    }

    // An upgrade, and the end: the resources and their Secrets stay until they are to go.
    shell.paste(&commands("docs/operations.md", "## Upgrade", "helm upgrade"));
    assert_eq!(release.args().await, before);
    drop(operator);
    shell.paste(&commands("docs/operations.md", "## Uninstall", "helm uninstall"));
    world.wait_ready("squadcast").await;
    shell.paste(&commands("docs/operations.md", "## Uninstall", "delete crd"));
    assert!(shell.paste("kubectl get crd -o name").is_empty());
}
