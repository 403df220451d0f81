//! Instructions and allocations of the pure core, so that a regression is seen: `make bench-core`.
//!
//! Both are counted by valgrind, on a machine that it simulates: they do not depend on what else the real one does. Each
//! case runs a few times and many times, and the difference is what one time takes. `baseline.txt` holds what was
//! accepted; what is over it by a tenth is a regression. `ACCEPT=1` writes the file anew.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measurement that fails says so by a panic"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

mod cases;
mod objects;

use cases::CASES;

const FEW: u64 = 10;
/// So many that what a case prepares, which the random keys of hash tables make vary, does not show.
const MANY: u64 = 510;
/// What a figure may be over the accepted one.
const TOLERANCE: f64 = 1.1;

/// What one time takes.
#[derive(Clone, Copy)]
struct Cost {
    instructions: f64,
    allocations: f64,
    bytes: f64,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    if let [name, times] = arguments.as_slice() {
        // Below valgrind.
        let (_, run) = CASES.iter().find(|(case, _)| case == name).expect("the name of a case");
        run(times.parse().expect("a number"));
        return ExitCode::SUCCESS;
    }
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/core/baseline.txt");
    let accepted = read(&std::fs::read_to_string(&file).unwrap_or_default());
    let mut text = String::from(
        "# case: instructions, allocations, bytes allocated; written by make bench-core ACCEPT=1\n",
    );
    let mut regressed = false;
    println!(
        "| case | instructions | allocations | bytes allocated | times the accepted ones |\n|---|---|---|---|---|"
    );
    for (name, _) in CASES {
        let Cost { instructions, allocations, bytes } = cost(name);
        let over = accepted.get(*name).map_or(f64::NAN, |before| {
            // One more, so that what allocates nothing can be compared too.
            let part = |now: f64, before: f64| (now + 1.0) / (before + 1.0);
            part(instructions, before.instructions).max(part(allocations, before.allocations))
        });
        regressed |= over.is_nan() || over > TOLERANCE;
        println!("| {name} | {instructions:.0} | {allocations:.1} | {bytes:.0} | {over:.2} |");
        let _ = writeln!(text, "{name}: {instructions:.0}, {allocations:.1}, {bytes:.0}");
    }
    if std::env::var("ACCEPT").is_ok_and(|accept| accept == "1") {
        std::fs::write(&file, text).expect("benches/core/baseline.txt");
        println!("Accepted: {}", file.display());
    } else if regressed {
        eprintln!(
            "A case takes over {TOLERANCE} times what was accepted, or was never accepted. Find out why; if it is meant, make bench-core ACCEPT=1"
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// The lines of a baseline.
fn read(text: &str) -> BTreeMap<String, Cost> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let (name, figures) = line.rsplit_once(": ")?;
            let figures: Vec<f64> = figures.split(", ").filter_map(|figure| figure.parse().ok()).collect();
            let [instructions, allocations, bytes] = figures.try_into().ok()?;
            Some((name.to_owned(), Cost { instructions, allocations, bytes }))
        })
        .collect()
}

fn cost(name: &str) -> Cost {
    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let one = |tool: &str, word: &str| -> Vec<f64> {
        let (few, many) = (valgrind(tool, word, name, FEW), valgrind(tool, word, name, MANY));
        few.iter().zip(many).map(|(few, many)| (many - few) as f64 / (MANY - FEW) as f64).collect()
    };
    let instructions = one("callgrind", "Collected :")[0];
    let heap = one("dhat", "Total:");
    Cost { instructions, allocations: heap[1], bytes: heap[0] }
}

/// The numbers in the line of valgrind's output with this word.
fn valgrind(tool: &str, word: &str, name: &str, times: u64) -> Vec<i64> {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new("valgrind")
        .args([&format!("--tool={tool}"), &format!("--{tool}-out-file=/dev/null")])
        .arg(program)
        .args([name, &times.to_string()])
        .output()
        .unwrap_or_else(|error| panic!("valgrind: {error}; install it from your system's packages"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} below valgrind: {text}");
    let line = text.lines().find_map(|line| Some(line.split_once(word)?.1)).expect("valgrind's count");
    let numbers = line.split(|c: char| !c.is_ascii_digit() && c != ',').filter(|part| !part.is_empty());
    numbers.map(|part| part.replace(',', "").parse().expect("a number")).collect()
}
