//! Whose target it is, where several claim one or one leaves another.

use super::*;
use crate::controller::index::packed::UNPACKED;

#[test]
fn the_holder_keeps_its_target_and_the_other_hears_when_it_goes() {
    let mut index = settled();
    let mut woken = index.apply_credential(0, &credential("Z", "sz", "ta", 2));
    woken.sort();
    assert_eq!(woken, [key("Z")], "the holder is not disturbed");
    assert_eq!(index.input(&key("Z")).unwrap().rival.as_deref(), Some("a"));
    assert_eq!(index.input(&key("a")).unwrap().rival, None);
    let input = index.input(&key("Z")).unwrap();
    index.finish(&key("Z"), &input, Learned::default());
    assert_eq!(index.delete_credential(&key("a")), [key("Z")]);
    assert_eq!(index.input(&key("Z")).unwrap().rival, None);
}

#[test]
fn of_two_without_a_holder_the_smaller_name_of_one_age_wins() {
    let mut index = Index::new(false);
    index.apply_credential(0, &credential("b", "sb", "t", 2));
    index.apply_credential(0, &credential("a", "sa", "t", 2));
    assert_eq!(index.input(&key("b")).unwrap().rival.as_deref(), Some("a"));
    assert_eq!(index.input(&key("a")).unwrap().rival, None);
}

#[test]
fn of_two_without_a_holder_the_older_wins_and_one_that_is_being_deleted_claims_nothing() {
    let mut index = Index::new(false);
    let older =
        Credential { created: "2023-12-31T23:59:59Z".parse().unwrap(), ..credential("b", "sb", "t", 2) };
    index.apply_credential(0, &older.clone());
    index.apply_credential(0, &credential("a", "sa", "t", 2));
    assert_eq!(index.input(&key("a")).unwrap().rival.as_deref(), Some("b"));
    assert_eq!(index.input(&key("b")).unwrap().rival, None);
    let mut suspended = Credential { generation: 2, ..older };
    suspended.spec.suspend = true;
    index.apply_credential(0, &suspended.clone());
    assert_eq!(index.input(&key("a")).unwrap().rival.as_deref(), Some("b"), "a suspended one holds on");
    let woken = index.apply_credential(0, &Credential { deleting: true, ..suspended });
    assert!(woken.contains(&key("a")), "{woken:?}");
    assert_eq!(index.input(&key("a")).unwrap().rival, None);
}

#[test]
fn of_a_crowd_that_claims_one_target_not_all_are_unpacked_for_each() {
    let mut index = Index::new(false);
    for number in 0..50 {
        index.apply_credential(0, &credential(&format!("c{number}"), "s", "t", 2));
    }
    UNPACKED.set(0);
    assert_eq!(index.apply_secret(0, &owned("t", 3, "c7")).len(), 50);
    assert!(UNPACKED.get() <= 50, "{}", UNPACKED.get());
    assert_eq!(index.input(&key("c0")).unwrap().rival.as_deref(), Some("c7"));
}

#[test]
fn one_that_was_made_anew_while_no_watch_looked_is_another() {
    let mut index = Index::new(false);
    let of = |name: &str, uid: &str, created: &str, version| Credential {
        uid: uid.into(),
        created: created.parse().unwrap(),
        ..credential(name, "s", "t", version)
    };
    index.apply_credential(0, &of("a", "first", "2024-01-01T00:00:00Z", 2));
    index.apply_credential(0, &of("b", "b", "2024-01-02T00:00:00Z", 3));
    index.apply_secret(0, &plain("s", 1));
    for name in ["a", "b"] {
        let input = index.input(&key(name)).unwrap();
        index.finish(&key(name), &input, Learned::default());
    }
    index.relist_credentials(0);
    let mut woken = index.apply_credential(0, &of("a", "second", "2024-01-03T00:00:00Z", 7));
    woken.sort();
    woken.dedup();
    assert_eq!(woken, [key("a"), key("b")]);
    assert_eq!(index.input(&key("a")).unwrap().rival.as_deref(), Some("b"));
    assert_eq!(index.input(&key("b")).unwrap().rival, None);
}

#[test]
fn one_that_merges_into_a_secret_holds_it_against_an_older_one() {
    let mut index = Index::new(false);
    let merging = json!({ "annotations": {
        names::ANNOTATION_ALLOW_WRITE: "b", names::ANNOTATION_MANAGED: "{\"data\":[\"access_token\"]}",
    } });
    index.apply_credential(0, &credential("b", "sb", "t", 2));
    index.apply_secret(0, &secret("t", 3, &merging));
    let input = index.input(&key("b")).unwrap();
    let learned = Learned { secrets: vec![(key("t"), Some(facts(secret("t", 3, &merging))))], status: None };
    index.finish(&key("b"), &input, learned);
    let older =
        Credential { created: "2023-12-31T23:59:59Z".parse().unwrap(), ..credential("a", "sa", "t", 4) };
    index.apply_credential(0, &older);
    assert_eq!(index.input(&key("a")).unwrap().rival.as_deref(), Some("b"));
    assert_eq!(index.input(&key("b")).unwrap().rival, None);
}

#[test]
fn former_targets_are_those_that_it_still_controls() {
    let mut index = settled();
    let written = |name: &str, version| {
        let mut secret = owned(name, version, "a");
        secret.facts.managed.data.insert("access_token".to_owned());
        secret
    };
    index.apply_secret(0, &written("old", 2));
    index.apply_secret(0, &written("ta", 3));
    // The user's own, which are to go with the resource and not before.
    index.apply_secret(0, &written("sa", 4));
    index.apply_secret(0, &owned("notes", 5, "a"));
    let former = index.input(&key("a")).unwrap().former_targets;
    assert_eq!(former.iter().map(|(key, _)| key.name()).collect::<Vec<_>>(), ["old"]);
}

#[test]
fn whoever_waits_for_a_target_knows_when_its_holder_goes() {
    let mut index = settled();
    index.apply_secret(0, &owned("ta", 7, "a"));
    index.apply_credential(0, &credential("b", "sb", "ta", 3));
    assert!(!index.input(&key("b")).unwrap().holder_leaves);
    index.delete_credential(&key("a"));
    let input = index.input(&key("b")).unwrap();
    assert!(input.holder_leaves && input.rival.is_none());
    index.apply_secret(0, &owned("ta", 8, "c"));
    assert!(!index.input(&key("b")).unwrap().holder_leaves);
}
