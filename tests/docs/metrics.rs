//! The metrics that the process exports, those that are documented, and those that alerts and dashboard ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use squadcast_operator::api::{ConditionType, Key, Reason};
use squadcast_operator::ops::metrics::{CredentialSample, CredentialSource, Metrics};
use squadcast_operator::reconcile::Ending;

use crate::file;
use crate::markdown::{codes, rows};

struct One;

impl CredentialSource for One {
    fn undecodable(&self) -> usize {
        0
    }

    fn for_each(&self, show: &mut dyn FnMut(&Key, &CredentialSample)) {
        show(
            &Key::new("team", "one"),
            &CredentialSample {
                ready: true,
                expires_at: Some(2),
                renew_at: Some(1),
                failures: 0,
                conditions: [Some((ConditionType::Ready, true, Reason::TokenValid)), None, None],
            },
        );
    }
}

/// Type and labels of each metric that the process exports.
fn exported() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let metrics = Metrics::new(Timestamp::UNIX_EPOCH);
    metrics.credentials_from(Arc::new(One));
    metrics.leader(true);
    metrics.region("us");
    metrics.exchange("us", Ok(()), 1.0);
    metrics.reconcile("issued", 1.0);
    let text = metrics.encode();
    let mut found = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            found.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
        } else if let Some((name, labels)) = line.split_once('{') {
            let name = name.trim_end_matches("_bucket").trim_end_matches("_sum").trim_end_matches("_count");
            let labels =
                labels.split_once('}').unwrap().0.split(',').map(|label| label.split_once('=').unwrap().0);
            let known: &mut (String, BTreeSet<String>) = found.get_mut(name).unwrap();
            known.1.extend(labels.filter(|label| *label != "le").map(str::to_owned));
        }
    }
    found
}

#[test]
fn the_metrics_are_documented_with_their_types_and_labels() {
    let told: BTreeMap<_, _> = rows(&file("docs/metrics.md"))
        .into_iter()
        .filter(|row| row.len() == 4)
        .map(|row| (row[0].replace('`', ""), (row[1].clone(), codes(&row[2]).into_iter().collect())))
        .collect();
    let exported = exported();
    let lacks = exported.iter().filter(|(name, what)| told.get(*name) != Some(what));
    let more = told.iter().filter(|(name, what)| exported.get(*name) != Some(what));
    let differ: Vec<_> = lacks.chain(more).collect();
    assert!(differ.is_empty(), "docs/metrics.md and what the process exports differ in {differ:#?}");
}

#[test]
fn the_outcomes_of_reconciles_are_documented() {
    let text = file("docs/metrics.md");
    let told: BTreeSet<String> =
        rows(&text).into_iter().filter(|row| row.len() == 2).map(|row| row[0].replace('`', "")).collect();
    let there = Ending::ALL.iter().map(|ending| ending.as_str().to_owned()).collect();
    assert_eq!(told, there);
}

#[test]
fn alerts_dashboard_and_runbook_ask_for_metrics_that_there_are() {
    let exported = exported();
    let mut checked = 0;
    for path in [
        "charts/squadcast-operator/files/rules.yaml",
        "charts/squadcast-operator/files/dashboard.json",
        "docs/alerts.md",
        "docs/reasons.md",
        "docs/operations.md",
        "README.md",
    ] {
        let text = file(path);
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for name in
            words.filter(|word| ["squadcast_", "process_"].iter().any(|prefix| word.starts_with(prefix)))
        {
            assert!(
                exported.contains_key(name.trim_end_matches("_bucket")),
                "{path}: there is no metric {name}"
            );
            checked += 1;
        }
    }
    assert!(checked > 30, "{checked}");
}
