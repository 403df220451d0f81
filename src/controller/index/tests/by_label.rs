//! The watches show only labelled Secrets, two of them each: one watch for sources, one for managed Secrets.

use super::*;

const SOURCES: usize = 0;
const MANAGED: usize = 1;

fn as_source(name: &str, version: u64) -> SecretMeta {
    secret(name, version, &json!({ "labels": { names::LABEL_REFRESH_TOKEN: "true" } }))
}

fn managed(name: &str, version: u64) -> SecretMeta {
    secret(name, version, &json!({ "labels": { names::LABEL_MANAGED_BY: names::FIELD_MANAGER } }))
}

fn both(name: &str, version: u64) -> SecretMeta {
    let labels = json!({ names::LABEL_MANAGED_BY: names::FIELD_MANAGER, names::LABEL_REFRESH_TOKEN: "true" });
    secret(name, version, &json!({ "labels": labels }))
}

/// An index with resource `a`, which has seen what `secrets` say.
fn looked(secrets: Vec<(Key, Option<Arc<SecretFacts>>)>) -> Index {
    let mut index = Index::new(true);
    index.apply_credential(0, &credential("a", "sa", "ta", 2));
    let input = index.input(&key("a")).unwrap();
    assert!(!index.finish(&key("a"), &input, Learned { secrets, status: None }), "nothing has changed since");
    index
}

fn source_of(index: &mut Index) -> Known {
    index.input(&key("a")).unwrap().source
}

fn target_of(index: &mut Index) -> Known {
    index.input(&key("a")).unwrap().target
}

#[test]
fn who_gains_or_loses_the_label_wakes_those_who_name_it() {
    let mut index = looked(vec![(key("sa"), None), (key("ta"), None)]);
    assert_eq!(source_of(&mut index), Known::Unwatched(None));
    assert_eq!(index.apply_secret(SOURCES, &as_source("sa", 5)), [key("a")]);
    assert_eq!(source_of(&mut index), Known::Facts(facts(as_source("sa", 5))));
    let input = index.input(&key("a")).unwrap();
    index.finish(&key("a"), &input, Learned::default());
    assert_eq!(index.delete_secret(SOURCES, &key("sa"), "6"), [key("a")]);
    assert_eq!(source_of(&mut index), Known::Unwatched(None));
}

#[test]
fn a_source_that_was_there_before_its_resource_is_known() {
    let mut index = Index::new(true);
    index.apply_secret(SOURCES, &as_source("sa", 1));
    index.apply_credential(0, &credential("a", "sa", "ta", 2));
    assert_eq!(source_of(&mut index), Known::Facts(facts(as_source("sa", 1))));
    index.delete_credential(&key("a"));
    index.apply_credential(0, &credential("a", "sa", "ta", 3));
    assert_eq!(source_of(&mut index), Known::Facts(facts(as_source("sa", 1))));
}

#[test]
fn a_secret_of_both_labels_is_gone_when_neither_watch_shows_it() {
    let mut index = looked(Vec::new());
    index.apply_secret(SOURCES, &both("sa", 5));
    index.apply_secret(MANAGED, &both("sa", 5));
    assert!(index.delete_secret(SOURCES, &key("sa"), "6").is_empty(), "the other watch tells what it is now");
    index.apply_secret(MANAGED, &managed("sa", 6));
    assert_eq!(source_of(&mut index), Known::Facts(facts(managed("sa", 6))));
    index.delete_secret(MANAGED, &key("sa"), "7");
    assert_eq!(source_of(&mut index), Known::Unwatched(None));
}

#[test]
fn a_list_of_one_watch_says_nothing_of_what_the_other_shows() {
    let mut index = looked(vec![(key("sa"), None), (key("ta"), Some(facts(plain("ta", 3))))]);
    index.apply_secret(SOURCES, &as_source("sa", 5));
    let input = index.input(&key("a")).unwrap();
    index.finish(&key("a"), &input, Learned::default());
    index.relist_secrets(MANAGED);
    assert!(index.secrets_listed(MANAGED, None).is_empty());
    assert_eq!(source_of(&mut index), Known::Facts(facts(as_source("sa", 5))));
    index.relist_secrets(SOURCES);
    assert_eq!(index.secrets_listed(SOURCES, Some("ns")), [key("a")], "the source is gone");
    assert_eq!(source_of(&mut index), Known::Unwatched(None));
    assert_eq!(
        target_of(&mut index),
        Known::Unwatched(Some(facts(plain("ta", 3)))),
        "a list never showed it"
    );
}

#[test]
fn what_only_a_read_shows_is_read_again_and_wakes_nobody() {
    let mut index = looked(vec![(key("ta"), Some(facts(plain("ta", 3))))]);
    assert_eq!(target_of(&mut index), Known::Unwatched(Some(facts(plain("ta", 3)))));
    let input = index.input(&key("a")).unwrap();
    let gone = Learned { secrets: vec![(key("ta"), None)], status: None };
    assert!(!index.finish(&key("a"), &input, gone));
    assert_eq!(target_of(&mut index), Known::Unwatched(None));
}

#[test]
fn a_target_that_was_created_is_watched_from_then_on() {
    let mut index = looked(vec![(key("ta"), Some(facts(managed("ta", 3))))]);
    assert!(index.apply_secret(MANAGED, &managed("ta", 3)).is_empty(), "the echo of its own write");
    assert_eq!(target_of(&mut index), Known::Facts(facts(managed("ta", 3))));
    assert_eq!(index.apply_secret(MANAGED, &managed("ta", 4)), [key("a")]);
    assert_eq!(index.delete_secret(MANAGED, &key("ta"), "5"), [key("a")]);
}

#[test]
fn a_label_that_a_read_found_gone_is_no_news_when_the_watch_tells() {
    let mut index = looked(vec![(key("ta"), Some(facts(managed("ta", 3))))]);
    index.apply_secret(MANAGED, &managed("ta", 3));
    let input = index.input(&key("a")).unwrap();
    let learned = Learned { secrets: vec![(key("ta"), Some(facts(plain("ta", 4))))], status: None };
    assert!(!index.finish(&key("a"), &input, learned));
    assert!(index.delete_secret(MANAGED, &key("ta"), "4").is_empty());
    assert_eq!(target_of(&mut index), Known::Unwatched(Some(facts(plain("ta", 4)))));
}

#[test]
fn a_label_that_went_before_the_last_read_is_remembered_by_no_watch() {
    let mut index = looked(Vec::new());
    index.apply_secret(MANAGED, &managed("sa", 3));
    let input = index.input(&key("a")).unwrap();
    let learned = Learned { secrets: vec![(key("sa"), Some(facts(plain("sa", 5))))], status: None };
    index.finish(&key("a"), &input, learned);
    index.delete_secret(MANAGED, &key("sa"), "4");
    index.apply_secret(SOURCES, &as_source("sa", 6));
    index.delete_secret(SOURCES, &key("sa"), "7");
    assert_eq!(source_of(&mut index), Known::Unwatched(None), "no watch shows it");
}

#[test]
fn the_slower_watch_does_not_bring_a_former_secret_back() {
    let mut index = looked(Vec::new());
    index.apply_secret(SOURCES, &both("sa", 5));
    index.apply_secret(MANAGED, &both("sa", 5));
    index.delete_secret(SOURCES, &key("sa"), "7");
    let labels = json!({ names::LABEL_REFRESH_TOKEN: "true" });
    let anew = || secret("sa", 8, &json!({ "uid": "another", "labels": labels }));
    index.apply_secret(SOURCES, &anew());
    index.apply_secret(MANAGED, &both("sa", 6));
    index.delete_secret(MANAGED, &key("sa"), "7");
    assert_eq!(source_of(&mut index), Known::Facts(facts(anew())));
}

#[test]
fn who_merges_into_an_unlabelled_secret_holds_it_against_an_older_one() {
    let merging = json!({ "annotations": {
        names::ANNOTATION_ALLOW_WRITE: "a", names::ANNOTATION_MANAGED: "{\"data\":[\"access_token\"]}",
    } });
    let mut index = looked(vec![(key("ta"), Some(facts(secret("ta", 3, &merging))))]);
    let older =
        Credential { created: "2023-12-31T23:59:59Z".parse().unwrap(), ..credential("b", "sb", "ta", 4) };
    index.apply_credential(0, &older);
    assert_eq!(index.input(&key("b")).unwrap().rival.as_deref(), Some("a"));
    assert_eq!(index.input(&key("a")).unwrap().rival, None);
}
