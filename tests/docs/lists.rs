//! Reasons, alerts, flags, labels and annotations: the same names in code, chart and documentation.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;
use squadcast_operator::api::{Reason, names};

use crate::file;
use crate::links::pages;
use crate::markdown::{anchors, codes, headings, prose, rows, section};

const RULES: &str = "charts/squadcast-operator/files/rules.yaml";

/// Where the alerts say that the documentation is: with the chart's home.
fn place() -> String {
    let chart: Value = serde_saphyr::from_str(&file("charts/squadcast-operator/Chart.yaml")).unwrap();
    format!("{}/blob/main/docs/", chart["home"].as_str().expect("the chart's home"))
}

fn rules() -> Vec<Value> {
    let rules: Value = serde_saphyr::from_str(&file(RULES)).unwrap();
    rules["groups"][0]["rules"].as_array().unwrap().clone()
}

#[test]
fn the_runbook_has_an_entry_for_each_reason_and_no_other() {
    let text = file("docs/reasons.md");
    let all: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    let entries: Vec<&str> = headings(&text)
        .filter(|(level, heading)| *level == 3 && !heading.contains(' '))
        .map(|(_, heading)| heading)
        .collect();
    assert_eq!(entries, all, "in the order of the catalogue");
    for reason in all {
        let entry = section(&text, &format!("### {reason}"));
        for part in ["- **Means**: ", "- **Usually**: ", "- **Do**: "] {
            assert!(entry.contains(part), "{reason} has no {part}");
        }
    }
}

#[test]
fn reasons_that_rules_and_documentation_name_exist() {
    let chart = file(RULES) + &file("charts/squadcast-operator/files/dashboard.json");
    let mut checked = 0;
    for label in ["reason", "outcome"] {
        for part in chart.replace("\\\"", "\"").split(label).skip(1) {
            let named = part.trim_start_matches(['=', '!', '~']);
            if named.len() == part.len() || !named.starts_with('"') {
                continue;
            }
            for reason in named[1..].split('"').next().unwrap().split('|') {
                assert!(reason == "success" || Reason::parse(reason).is_some(), "no reason {reason}");
                checked += 1;
            }
        }
    }
    assert!(checked > 10, "{checked}");
    let mut told = 0;
    for row in rows(section(&file("README.md"), "## What the resource tells")) {
        for reason in codes(&row[0])
            .iter()
            .filter(|code| row.len() == 3 && !["Ready", "Synced", "Stalled"].contains(&code.as_str()))
        {
            assert!(Reason::parse(reason).is_some(), "README.md: no reason {reason}");
            told += 1;
        }
    }
    assert!(told >= 8, "{told}");
}

#[test]
fn each_alert_is_documented_and_leads_to_an_entry() {
    let text = file("docs/alerts.md");
    let mut names = Vec::new();
    for rule in rules() {
        let name = rule["alert"].as_str().unwrap().to_owned();
        let row = rows(&text).into_iter().find(|row| row[0].contains(&format!("`{name}`")));
        let row = row.unwrap_or_else(|| panic!("alerts.md has no row for {name}"));
        assert_eq!(row[1], rule["labels"]["severity"].as_str().unwrap(), "{name}");
        assert_eq!(row[3], rule["for"].as_str().unwrap(), "{name}");
        let url = rule["annotations"]["runbook_url"].as_str().unwrap();
        let (page, anchor) = url.strip_prefix(&*place()).and_then(|place| place.split_once('#')).expect(url);
        // What follows the reason leads to an entry for each of them.
        let anchors = anchors(&file(&format!("docs/{page}")));
        let led = if anchor.starts_with("{{") {
            Reason::ALL.iter().map(|r| r.as_str().to_lowercase()).collect()
        } else {
            vec![anchor.to_owned()]
        };
        assert!(led.iter().all(|anchor| anchors.contains(anchor)), "{name}: {url}");
        names.push(name);
    }
    let entries: Vec<_> =
        headings(&text).filter(|(level, _)| *level == 3).map(|(_, name)| name.to_owned()).collect();
    assert_eq!(entries, names);
}

/// What `--help` says of each flag: its name with its value's, its variable and its default.
fn helped(command: &str) -> BTreeSet<(String, String, String)> {
    let output =
        Command::new(env!("CARGO_BIN_EXE_squadcast-operator")).args([command, "--help"]).env_clear().output();
    let help = String::from_utf8(output.expect("the program").stdout).unwrap();
    let flags =
        help.split("\n      --").skip(1).map(|text| format!("--{}", text.split("\n  -").next().unwrap()));
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let between = |text: &str, from: &str| {
        text.split_once(from)
            .and_then(|(_, rest)| rest.rsplit_once(']'))
            .map(|(value, _)| value.split("] [").next().unwrap().to_owned())
    };
    flags
        .map(|flag| {
            let name = flag.lines().next().unwrap().replace(['<', '>'], "");
            let text = words(&flag);
            (
                name,
                between(&text, "[env: ").unwrap_or_default(),
                between(&text, "[default: ").unwrap_or_default(),
            )
        })
        .map(|(name, env, default)| (name, env.split(']').next().unwrap().to_owned(), default))
        .collect()
}

#[test]
fn the_flags_and_their_variables_and_defaults_are_documented() {
    let text = file("docs/flags.md");
    for command in ["run", "check"] {
        let rows: Vec<_> = rows(section(&text, &format!("## squadcast-operator {command}")));
        let flags = rows.iter().filter(|row| row[0].starts_with("`--"));
        let told: BTreeSet<_> = flags
            .map(|row| {
                // A default that is computed is told in words.
                let default =
                    if row[2] == "off" || row[2] == "none" { String::new() } else { row[2].replace('`', "") };
                (row[0].replace('`', ""), row[1].replace('`', ""), default)
            })
            .collect();
        let helped: BTreeSet<_> = helped(command)
            .into_iter()
            .map(|(name, env, default)| match &*name {
                "--region NAME=AUTH_URL[,API_URL]" => (name, env, "us, eu".to_owned()),
                "--selector LABELS" => (name, env, "all".to_owned()),
                _ => (name, env, default),
            })
            .collect();
        let differ: Vec<_> = told.symmetric_difference(&helped).collect();
        assert!(differ.is_empty(), "docs/flags.md and {command} --help differ in {differ:#?}");
    }
}

#[test]
fn labels_and_annotations_are_documented() {
    let text = file("docs/reference.md");
    let source = file("src/api/names.rs");
    let constants = source.split("pub const ").skip(1).filter_map(|rest| rest.split_once(": &str = \""));
    let marks =
        constants.filter(|(name, _)| ["LABEL_", "ANNOTATION_"].iter().any(|kind| name.starts_with(kind)));
    let names: Vec<&str> = marks.filter_map(|(_, value)| value.split('"').next()).collect();
    assert!(names.len() >= 13 && names.contains(&names::LABEL_MANAGED_BY), "{names:?}");
    for name in &names {
        assert!(text.contains(&format!("`{name}")), "reference.md does not tell of {name}");
    }
    // Nor does any page speak of one that is not there.
    let mut checked = 0;
    for page in pages() {
        for rest in file(&page).split("credentials.squadcast.com/").skip(1) {
            let key: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
            let group = key.is_empty() || key == "v";
            let known = group || names.contains(&&*format!("credentials.squadcast.com/{key}"));
            assert!(known, "{page}: credentials.squadcast.com/{key}");
            checked += usize::from(!group);
        }
    }
    assert!(checked > 25, "{checked}");
}

#[test]
fn the_events_are_documented_with_their_types() {
    let text = file("docs/reasons.md");
    let events = section(&text, "## Events");
    let told: BTreeSet<(String, String)> = prose(events)
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" | `"))
        .map(|(kind, rest)| (kind.to_owned(), rest.split('`').next().unwrap().to_owned()))
        .collect();
    // What is no reason of the catalogue is made in one place, with type, name and text in this order.
    let source = file("src/reconcile/report/notes.rs");
    let mut there = BTreeSet::new();
    for event in source.split("type_: EventType::").skip(1) {
        let kind = if event.starts_with("Warning") { "Warning" } else { "Normal" };
        let names = event.split("note").next().unwrap().split('"').skip(1).step_by(2);
        there.extend(names.map(|name| (kind.to_owned(), name.to_owned())));
    }
    assert_eq!(there.len(), 5, "{there:?}");
    assert_eq!(told, there);
}
