//! Values of the chart and flags that the documentation speaks of exist. `tests/chart.rs` compares the whole list of values.

use serde_json::Value;

use crate::file;
use crate::links::pages;
use crate::markdown::{codes, prose};

/// Flags of other programs that the documentation shows alone.
const OF_OTHERS: [&str; 3] = ["--cascade", "--field-selector", "--set"];

fn values() -> Value {
    serde_saphyr::from_str(&file("charts/squadcast-operator/values.yaml")).unwrap()
}

/// Whether the chart has a value of this path.
fn exists(values: &Value, path: &str) -> bool {
    values.pointer(&format!("/{}", path.replace('.', "/"))).is_some()
}

/// The letters, digits and dots that a text begins with.
fn path(text: &str) -> &str {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '.').next().unwrap_or_default()
}

#[test]
fn every_value_of_the_chart_that_is_named_exists() {
    let values = values();
    let mut checked = 0;
    for page in pages() {
        let text = file(&page);
        let pasted = text.split("--set ").skip(1).map(path);
        let prose: Vec<_> = prose(&text).flat_map(codes).collect();
        // What has a value's name before its first dot.
        let is_value =
            |code: &&str| code.split_once('.').is_some_and(|(first, _)| values.get(first).is_some());
        let named = prose.iter().map(|code| path(code)).filter(is_value);
        for path in pasted.chain(named) {
            assert!(exists(&values, path), "{page}: the chart has no value {path}");
            checked += 1;
        }
    }
    assert!(checked > 40, "{checked}");
}

#[test]
fn every_flag_that_is_named_exists() {
    let flags = file("docs/flags.md");
    let mut checked = 0;
    for page in pages().iter().filter(|page| page.starts_with("docs/") || *page == "README.md") {
        for code in prose(&file(page)).flat_map(codes).filter(|code| code.starts_with("--")) {
            let flag = code.split([' ', '=']).next().unwrap().to_owned();
            let known = OF_OTHERS.contains(&&*flag)
                || [' ', '`'].iter().any(|end| flags.contains(&format!("| `{flag}{end}")));
            assert!(known, "{page}: there is no flag {flag}");
            checked += 1;
        }
    }
    assert!(checked > 35, "{checked}");
}

#[test]
fn every_upgrade_that_people_paste_keeps_their_values() {
    let mut checked = 0;
    for page in pages() {
        let joined = file(&page).replace("\\\n", " ");
        for line in joined.lines().filter(|line| line.contains("helm upgrade ") && line.contains("charts/")) {
            assert!(line.contains("--namespace squadcast-operator"), "{page}: {line}");
            assert!(line.contains("--reset-then-reuse-values"), "{page}: {line}");
            checked += 1;
        }
        // Nor is there a part of one.
        assert!(!joined.contains("helm upgrade …") && !joined.contains("`--set metrics"), "{page}");
    }
    assert!(checked >= 3, "{checked}");
}
