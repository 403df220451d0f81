//! Who is woken by what, and who is not.

mod at_rest;
mod by_label;
mod claims;
mod whatever;

use std::sync::Arc;

use serde_json::{Value, json};

use super::Index;
use crate::{
    api::{Key, SquadcastCredential, names},
    reconcile::{Credential, Input, Known, Learned},
    secret::{SecretFacts, SecretMeta},
};

fn credential(name: &str, source: &str, target: &str, version: u64) -> Credential {
    serde_json::from_value::<SquadcastCredential>(json!({
        "apiVersion": names::API_VERSION,
        "kind": names::KIND,
        "metadata": {
            "name": name, "namespace": "ns", "uid": format!("uid-{name}"), "generation": 1,
            "resourceVersion": version.to_string(), "creationTimestamp": "2024-01-01T00:00:00Z",
        },
        "spec": { "refreshTokenSecretRef": { "name": source }, "target": { "name": target } },
    }))
    .unwrap()
    .into()
}

fn secret(name: &str, version: u64, extra: &Value) -> SecretMeta {
    let mut metadata = json!({
        "name": name, "namespace": "ns", "uid": format!("uid-{name}"), "resourceVersion": version.to_string(),
    });
    metadata.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    serde_json::from_value(json!({ "metadata": metadata })).unwrap()
}

fn plain(name: &str, version: u64) -> SecretMeta {
    secret(name, version, &json!({}))
}

fn owned(name: &str, version: u64, by: &str) -> SecretMeta {
    let owner = json!([{
        "apiVersion": names::API_VERSION, "kind": names::KIND, "name": by, "uid": format!("uid-{by}"),
        "controller": true,
    }]);
    secret(name, version, &json!({ "ownerReferences": owner }))
}

fn key(name: &str) -> Key {
    Key::new("ns", name)
}

fn facts(secret: SecretMeta) -> Arc<SecretFacts> {
    Arc::new(secret.facts)
}

/// An index with resource `a` (source `sa`, target `ta`), already reconciled.
fn settled() -> Index {
    let mut index = Index::new(false);
    index.apply_secret(0, &plain("sa", 1));
    assert_eq!(index.apply_credential(0, &credential("a", "sa", "ta", 2)), [key("a")]);
    let input = index.input(&key("a")).unwrap();
    let learned = Learned {
        secrets: vec![
            (key("sa"), Some(facts(plain("sa", 1)))),
            (key("ta"), Some(facts(owned("ta", 3, "a")))),
        ],
        status: None,
    };
    assert!(!index.finish(&key("a"), &input, learned));
    index
}

#[test]
fn the_echo_of_its_own_write_wakes_nobody() {
    let mut index = settled();
    assert!(index.apply_secret(0, &owned("ta", 3, "a")).is_empty());
    assert!(index.apply_secret(0, &plain("sa", 1)).is_empty());
    assert!(index.apply_credential(0, &credential("a", "sa", "ta", 9)).is_empty(), "its status");
}

#[test]
fn a_change_wakes_those_who_name_the_secret_and_no_others() {
    let mut index = settled();
    index.apply_credential(0, &credential("b", "sb", "tb", 2));
    index.apply_credential(0, &credential("c", "sa", "tc", 2));
    let mut woken = index.apply_secret(0, &plain("sa", 5));
    woken.sort();
    assert_eq!(woken, [key("a"), key("c")]);
    assert_eq!(index.apply_secret(0, &owned("ta", 6, "a")), [key("a")]);
    assert_eq!(index.delete_secret(0, &key("ta"), "7"), [key("a")]);
    assert!(index.apply_secret(0, &plain("foreign", 5)).is_empty());
}

#[test]
fn of_foreign_secrets_it_is_known_at_most_that_their_names_are_taken() {
    let mut index = Index::new(false);
    index.apply_secret(0, &plain("foreign", 1));
    index.apply_credential(0, &credential("a", "sa", "foreign", 2));
    let input = index.input(&key("a")).unwrap();
    assert_eq!(input.target, Known::Present);
    assert_eq!(input.source, Known::Absent);
}

#[test]
fn a_list_that_does_not_show_it_deletes_it() {
    let mut index = settled();
    index.relist_secrets(0);
    index.apply_secret(0, &plain("sa", 1));
    assert_eq!(index.secrets_listed(0, None), [key("a")], "its target is gone");
    assert_eq!(index.input(&key("a")).unwrap().target, Known::Present, "which a read confirms");
    index.apply_credential(0, &credential("b", "sb", "tb", 2));
    index.relist_credentials(0);
    index.apply_credential(0, &credential("b", "sb", "tb", 2));
    index.credentials_listed(0);
    assert_eq!(index.keys(), [key("b")]);
}

#[test]
fn another_namespace_s_list_deletes_nothing_here() {
    let mut index = settled();
    index.apply_secret(0, &owned("ta", 3, "a"));
    index.relist_secrets(1);
    assert!(index.secrets_listed(1, Some("elsewhere")).is_empty());
    assert!(matches!(index.input(&key("a")).unwrap().target, Known::Facts(_)));
}

#[test]
fn what_changed_under_a_reconcile_calls_for_another() {
    let mut index = settled();
    index.apply_secret(0, &plain("sa", 4));
    let input = index.input(&key("a")).unwrap();
    index.apply_secret(0, &plain("sa", 5));
    let learned = Learned { secrets: vec![(key("sa"), Some(facts(plain("sa", 4))))], status: None };
    assert!(index.finish(&key("a"), &input, learned));
}

#[test]
fn a_read_that_finds_none_counts_until_the_watch_tells_more() {
    let mut index = settled();
    index.apply_secret(0, &owned("ta", 3, "a"));
    let input = index.input(&key("a")).unwrap();
    let none = || Learned {
        secrets: vec![(key("sa"), Some(facts(plain("sa", 1)))), (key("ta"), None)],
        status: None,
    };
    assert!(!index.finish(&key("a"), &input, none()), "nothing calls for another look");
    assert_eq!(index.delete_secret(0, &key("ta"), "4"), [] as [Key; 0], "what is known already wakes nobody");
    let input = index.input(&key("a")).unwrap();
    index.apply_secret(0, &owned("ta", 5, "a"));
    assert!(index.finish(&key("a"), &input, none()), "it is there again");
    assert!(matches!(index.input(&key("a")).unwrap().target, Known::Facts(_)));
}

#[test]
fn a_secret_that_a_list_lacks_while_it_was_read_does_not_come_back() {
    let mut index = settled();
    index.apply_secret(0, &owned("ta", 3, "a"));
    let input = index.input(&key("a")).unwrap();
    index.relist_secrets(0);
    index.apply_secret(0, &plain("sa", 1));
    index.secrets_listed(0, None);
    let learned = Learned { secrets: vec![(key("ta"), Some(facts(owned("ta", 3, "a"))))], status: None };
    assert!(index.finish(&key("a"), &input, learned), "it is looked at again");
    assert_eq!(index.input(&key("a")).unwrap().target, Known::Present, "and read");
}

#[test]
fn a_secret_deleted_while_it_was_read_does_not_come_back() {
    let mut index = settled();
    index.apply_secret(0, &owned("ta", 3, "a"));
    let input = index.input(&key("a")).unwrap();
    index.delete_secret(0, &key("ta"), "8");
    let learned = Learned { secrets: vec![(key("ta"), Some(facts(owned("ta", 7, "a"))))], status: None };
    assert!(index.finish(&key("a"), &input, learned));
    assert_eq!(index.input(&key("a")).unwrap().target, Known::Absent);
}

#[test]
fn an_undecodable_object_is_counted_and_stops_only_itself() {
    let mut index = settled();
    assert!(index.undecodable(0, &key("bad")).is_some());
    assert!(index.undecodable(0, &key("bad")).is_none(), "no news");
    assert_eq!(index.undecodable_count(), 1);
    assert_eq!(index.keys(), [key("a")]);
    index.delete_credential(&key("bad"));
    assert_eq!(index.undecodable_count(), 0);
}

#[test]
fn an_exchange_is_still_wanted_until_the_resource_changes() {
    let mut index = settled();
    let input = index.input(&key("a")).unwrap();
    assert!(index.still_wanted(&input));
    let mut changed = credential("a", "sa", "ta", 9);
    changed.generation = 2;
    index.apply_credential(0, &changed);
    assert!(!index.still_wanted(&input));
    index.delete_credential(&key("a"));
    assert!(!index.still_wanted(&input));
}

#[test]
fn an_exchange_is_no_longer_wanted_when_its_source_is_gone() {
    let mut index = settled();
    let input = index.input(&key("a")).unwrap();
    index.apply_secret(0, &plain("sa", 1));
    index.apply_secret(0, &owned("ta", 5, "a"));
    assert!(index.still_wanted(&input), "the source is as it was");
    let created_again = Input { source: Known::Facts(facts(plain("sa", 8))), ..input.clone() };
    index.delete_secret(0, &key("sa"), "7");
    assert!(!index.still_wanted(&input));
    assert!(index.still_wanted(&created_again), "the watch is late");
}

#[test]
fn the_end_of_a_former_secret_says_nothing_of_the_one_written_since() {
    let mut index = settled();
    index.apply_secret(0, &owned("ta", 7, "a"));
    index.delete_secret(0, &key("ta"), "6");
    assert!(matches!(index.input(&key("a")).unwrap().target, Known::Facts(_)));
    index.delete_secret(0, &key("ta"), "8");
    assert_eq!(index.input(&key("a")).unwrap().target, Known::Absent);
}

#[test]
fn what_a_list_does_not_show_is_read_before_it_counts_as_gone() {
    let mut index = settled();
    index.apply_secret(0, &owned("ta", 7, "a"));
    index.relist_secrets(0);
    index.apply_secret(0, &plain("sa", 1));
    assert_eq!(index.secrets_listed(0, None), [key("a")]);
    assert_eq!(index.input(&key("a")).unwrap().target, Known::Present);
}

#[test]
fn a_missing_secret_whose_name_was_taken_once_does_not_keep_anybody_busy() {
    let mut index = Index::new(false);
    index.apply_secret(0, &plain("ta", 1));
    index.delete_secret(0, &key("ta"), "2");
    index.apply_secret(0, &plain("sa", 1));
    index.apply_credential(0, &credential("a", "sa", "ta", 2));
    let input = index.input(&key("a")).unwrap();
    assert_eq!(input.target, Known::Present, "a read tells");
    let learned = Learned {
        secrets: vec![(key("sa"), Some(facts(plain("sa", 1)))), (key("ta"), None)],
        ..Learned::default()
    };
    assert!(!index.finish(&key("a"), &input, learned));
}

#[test]
fn an_exchange_is_still_wanted_until_the_source_changes_after_it_was_read() {
    // A source that was there before its resource: no watch has told of it yet.
    let mut index = Index::new(false);
    index.secrets_listed(0, None);
    index.apply_secret(0, &plain("sa", 5));
    index.apply_credential(0, &credential("a", "sa", "ta", 6));
    let mut input = index.input(&key("a")).unwrap();
    assert_eq!(input.source, Known::Present);
    input.source = Known::Facts(facts(plain("sa", 7)));
    assert!(index.still_wanted(&input));
    index.apply_secret(0, &plain("sa", 6));
    assert!(index.still_wanted(&input), "the watch is late");
    index.apply_secret(0, &plain("sa", 7));
    assert!(index.still_wanted(&input));
    index.apply_secret(0, &plain("sa", 8));
    assert!(!index.still_wanted(&input));
}
