//! The tables in `tests/README.md` and the claims of `docs/security.md` name tests that exist.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test fails")]

use std::collections::BTreeSet;
use std::path::Path;

/// Where tests are, as the tables name it.
const LEVELS: [&str; 11] = [
    "lib",
    "wire",
    "cluster",
    "chart",
    "docs",
    "cluster_chart",
    "cluster_image",
    "cluster_monitoring",
    "pods",
    "workflows",
    "chaos",
];

/// The tests of one file: functions whose attribute says so.
fn tests_in(path: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut found = BTreeSet::new();
    let mut marked = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            marked = true;
        }
        let function = line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn "));
        if let Some((name, _)) = function.filter(|_| marked).and_then(|rest| rest.split_once('(')) {
            found.insert(name.to_owned());
            marked = false;
        }
    }
    found
}

/// The file in which a test of this path is written, as the compiler looks for it.
fn exists(level: &str, path: &str) -> bool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (modules, name) = path.rsplit_once("::").unwrap_or(("", path));
    let joined = modules.replace("::", "/");
    let files = match level {
        "lib" => {
            let inline = joined.strip_suffix("/tests").unwrap_or(&joined);
            vec![format!("src/{joined}.rs"), format!("src/{inline}.rs")]
        }
        "chart" | "workflows" => vec![format!("tests/{level}.rs")],
        "wire" | "docs" | "cluster" | "cluster_chart" | "cluster_image" | "cluster_monitoring" | "chaos"
        | "pods" => {
            vec![format!("tests/{level}/{joined}.rs")]
        }
        _ => vec![],
    };
    let mut tests = files.iter().map(|file| tests_in(&root.join(file)));
    tests.any(|tests| if name == "*" { !tests.is_empty() } else { tests.contains(name) })
}

fn page(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect(path)
}

#[test]
fn every_test_that_a_claim_of_security_names_exists() {
    let text = page("docs/security.md");
    let quoted = text.split('`').skip(1).step_by(2).filter_map(|quoted| quoted.split_once(' '));
    let named: Vec<_> = quoted.filter(|(level, _)| LEVELS.contains(level)).collect();
    for (level, path) in &named {
        assert!(exists(level, path), "there is no test {level} {path}");
    }
    assert!(named.len() > 20, "{named:?}");
}

#[test]
fn every_test_that_the_table_names_exists() {
    let text = page("tests/README.md");
    let names_tests = |row: &&str| LEVELS.iter().any(|level| row.contains(&format!("`{level} ")));
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")).filter(names_tests);
    let mut named = 0;
    for row in rows {
        let (promise, tests) = row.split_once(" | ").expect("two columns");
        for test in tests.split('`').skip(1).step_by(2) {
            let (level, path) = test.split_once(' ').unwrap_or_else(|| panic!("{promise}: {test}"));
            assert!(exists(level, path), "{promise}: there is no test {test}");
            named += 1;
        }
    }
    assert!(named > 150, "{named}");
}
