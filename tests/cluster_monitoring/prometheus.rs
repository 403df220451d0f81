//! Prometheus and promtool, from the Go module `tests/prometheus`.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::release::file;
use crate::support::controlplane::built;
use crate::support::operator::http_get;
use crate::support::process::{Supervised, free_port};
use crate::support::{DEADLINE, Operator, eventually};

/// One of the programs, built where it is lacking.
pub fn program(name: &str) -> PathBuf {
    built("prometheus", &["prometheus", "promtool"]).join(name)
}

/// The chart's alerts as they are in its folder.
pub fn rules() -> String {
    file("charts/squadcast-operator/files/rules.yaml")
}

/// A running Prometheus that scrapes one operator each second, as the chart's `ServiceMonitor` would have it done.
pub struct Prometheus {
    port: u16,
    _process: Supervised,
}

impl Prometheus {
    /// `rules` are alerts to evaluate each second.
    pub async fn watching(operator: &Operator, namespace: &str, rules: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("squadcast-prometheus-").tempdir();
        let folder = folder.expect("a temporary folder").keep();
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("a file");
        write("rules.yaml", rules);
        write("prometheus.yaml", &config(operator, namespace));
        let port = free_port();
        let process = Supervised::start("prometheus", &folder, &command(&folder, port));
        let started = Self { port, _process: process.expect("Prometheus") };
        eventually("Prometheus to scrape", DEADLINE, async || {
            let seen = started.query("squadcast_operator_build_info")?;
            if seen.is_empty() { Err("nothing yet".to_owned()) } else { Ok(()) }
        })
        .await;
        started
    }

    /// The result of an instant query.
    pub fn query(&self, expression: &str) -> Result<Vec<Value>, String> {
        let query = expression.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
        let answer = self.get(&format!("/api/v1/query?query={query}"))?;
        Ok(answer["result"].as_array().cloned().unwrap_or_default())
    }

    /// The alerts that fire, by their names.
    pub fn firing(&self) -> Result<Vec<Value>, String> {
        let alerts = self.get("/api/v1/alerts")?;
        let all = alerts["alerts"].as_array().cloned().unwrap_or_default();
        Ok(all.into_iter().filter(|alert| alert["state"] == "firing").collect())
    }

    fn get(&self, path: &str) -> Result<Value, String> {
        let (status, body) = http_get(("127.0.0.1", self.port), path).map_err(|error| error.to_string())?;
        let mut answer: Value = serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))?;
        if status == 200 { Ok(answer["data"].take()) } else { Err(format!("{status} {body}")) }
    }
}

fn config(operator: &Operator, namespace: &str) -> String {
    format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}
rule_files: [rules.yaml]
scrape_configs:
  - job_name: squadcast-operator-metrics
    honor_labels: true
    static_configs:
      - targets: ['127.0.0.1:{}']
        labels: {{ namespace: {namespace} }}
",
        operator.port()
    )
}

fn command(folder: &Path, port: u16) -> Command {
    let mut command = Command::new(program("prometheus"));
    command
        .arg(format!("--config.file={}", folder.join("prometheus.yaml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--log.level=warn");
    command
}
