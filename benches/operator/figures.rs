//! What was measured, as a table for people and as JSON: `.cache/bench/`, and with `DOC=1` `docs/performance.md`.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::controlplane::{ControlPlane, binaries, repository};

/// The table in the documentation stands between these lines.
const BEGIN: &str = "<!-- `make bench DOC=1` writes what follows -->";
const END: &str = "<!-- and ends here -->";

/// One line of the table.
pub struct Figure {
    what: String,
    value: f64,
    unit: &'static str,
    against: Option<(String, f64)>,
    target: Target,
    note: String,
}

/// What a figure should be.
#[derive(Clone, Copy)]
enum Target {
    None,
    /// At most this.
    AtMost(f64),
    /// At most so many times what it is compared with.
    Ratio(f64),
    /// At most so much more than what it is compared with.
    More(f64),
}

impl Figure {
    pub fn new(what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { what: what.into(), value, unit, against: None, target: Target::None, note: String::new() }
    }

    /// What it is compared with, of the same run and in the same unit.
    #[must_use]
    pub fn against(mut self, what: impl Into<String>, value: f64) -> Self {
        self.against = Some((what.into(), value));
        self
    }

    #[must_use]
    pub fn at_most(mut self, value: f64) -> Self {
        self.target = Target::AtMost(value);
        self
    }

    #[must_use]
    pub fn ratio_at_most(mut self, ratio: f64) -> Self {
        self.target = Target::Ratio(ratio);
        self
    }

    #[must_use]
    pub fn more_at_most(mut self, more: f64) -> Self {
        self.target = Target::More(more);
        self
    }

    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    fn ratio(&self) -> Option<f64> {
        self.against.as_ref().map(|(_, value)| self.value / value).filter(|ratio| ratio.is_finite())
    }

    /// Whether it is as it should be, where that is said.
    fn is_met(&self) -> Option<bool> {
        let compared = self.against.as_ref().map(|(_, value)| *value);
        match self.target {
            Target::None => None,
            Target::AtMost(most) => Some(self.value <= most),
            Target::Ratio(most) => self.ratio().map(|ratio| ratio <= most),
            Target::More(most) => compared.map(|compared| self.value - compared <= most),
        }
    }

    fn cells(&self) -> [String; 5] {
        let unit = |value: f64| format!("{} {}", number(value), self.unit).trim_end().to_owned();
        let compared = self.against.as_ref().map(|(what, value)| format!("{}: {what}", unit(*value)));
        let target = match self.target {
            Target::None => String::new(),
            Target::AtMost(most) => format!("at most {}", unit(most)),
            Target::Ratio(most) => format!("at most {most} times"),
            Target::More(most) => format!("at most {} more", unit(most)),
        };
        let verdict = match self.is_met() {
            None => "",
            Some(true) => ": met",
            Some(false) => ": **missed**",
        };
        let what =
            if self.note.is_empty() { self.what.clone() } else { format!("{}; {}", self.what, self.note) };
        [
            what,
            unit(self.value),
            compared.unwrap_or_default(),
            self.ratio().map(number).unwrap_or_default(),
            format!("{target}{verdict}"),
        ]
    }
}

/// Three digits that count, or all of a whole number.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 || (v >= 10.0 && v.fract() == 0.0) || v == 0.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        v if v >= 0.1 => 3,
        _ => 4,
    };
    format!("{value:.digits$}")
}

/// All of them, and the machine that they are of.
pub struct Figures {
    machine: Vec<(&'static str, String)>,
    all: Vec<Figure>,
}

impl Figures {
    pub async fn new(plane: &ControlPlane, program: &Path) -> Self {
        let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let said = |program: &Path| {
            let output = std::process::Command::new(program).arg("--version").output().expect("a version");
            String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned()
        };
        let field = |path: &str, name: &str| {
            let text = file(path);
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let kilobytes = field("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse().unwrap_or(0.0);
        let kubernetes = plane.client().apiserver_version().await.expect("a version").git_version;
        let machine = vec![
            ("date", jiff::Timestamp::now().strftime("%Y-%m-%d").to_string()),
            ("processor", field("/proc/cpuinfo", "model name")),
            ("cores", std::thread::available_parallelism().map_or(0, usize::from).to_string()),
            ("memory", format!("{:.0} GB", kilobytes * 1024.0 / 1e9)),
            ("load before", file("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned()),
            ("kernel", file("/proc/sys/kernel/osrelease").trim().to_owned()),
            ("Kubernetes", kubernetes),
            ("etcd", said(&binaries().join("etcd")).trim_start_matches("etcd Version: ").to_owned()),
            ("operator", said(program).trim_start_matches("squadcast-operator ").to_owned()),
        ];
        Self { machine, all: Vec::new() }
    }

    pub fn add(&mut self, figure: Figure) {
        let [what, value, compared, ratio, target] = figure.cells();
        println!("{what}: {value}; {compared} [{ratio}] {target}");
        self.all.push(figure);
    }

    /// Prints the table and writes it where it is kept.
    pub fn publish(&self) {
        let table = self.table();
        println!("\n{table}");
        let folder = repository().join(".cache/bench");
        std::fs::create_dir_all(&folder).expect("a folder for the figures");
        let file = folder.join(format!("{}.json", jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ")));
        let text = serde_json::to_string_pretty(&self.json()).expect("JSON");
        std::fs::write(&file, text + "\n").expect("a file for the figures");
        println!("The same as JSON: {}", file.display());
        if std::env::var("DOC").is_ok_and(|doc| doc == "1") {
            let path = repository().join("docs/performance.md");
            let text = std::fs::read_to_string(&path).expect("docs/performance.md");
            let (before, rest) = text.split_once(BEGIN).expect("the line where the table begins");
            let (_, after) = rest.split_once(END).expect("the line where the table ends");
            std::fs::write(&path, format!("{before}{BEGIN}\n\n{table}\n{END}{after}")).expect("the document");
            println!("The table is in {}", path.display());
        }
    }

    fn table(&self) -> String {
        let machine = self.machine.iter().map(|(name, value)| format!("{name} {value}"));
        let mut text = machine.collect::<Vec<_>>().join(", ");
        text.push_str("\n\n| figure | measured | compared with | ratio | target |\n|---|---|---|---|---|\n");
        for figure in &self.all {
            let _ = writeln!(text, "| {} |", figure.cells().join(" | "));
        }
        text
    }

    fn json(&self) -> Value {
        let machine: serde_json::Map<_, _> =
            self.machine.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
        let figures: Vec<Value> = self
            .all
            .iter()
            .map(|figure| {
                let target = figure.cells()[4].clone();
                json!({
                    "what": figure.what,
                    "value": figure.value,
                    "unit": figure.unit,
                    "comparedWith": figure.against.as_ref().map(|(what, value)| json!({ "what": what, "value": value })),
                    "ratio": figure.ratio(),
                    "target": target.split(':').next().filter(|text| !text.is_empty()),
                    "met": figure.is_met(),
                    "note": figure.note,
                })
            })
            .collect();
        json!({ "machine": machine, "figures": figures })
    }
}
