//! Whatever is packed is unpacked as it was.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use proptest::{collection, option, prelude::*, sample::select};

use super::*;
use crate::{
    api::{
        Condition, CreationPolicy, RefreshTokenRotation, RefreshTokenSecretRef, RolloutRestartTarget,
        SquadcastCredentialSpec, SquadcastCredentialStatus, Target, WorkloadKind,
    },
    controller::index::{entry::Entry, packed::Packed},
    schedule::Life,
    secret::{ControllerRef, Managed, Token},
    squadcast::Fingerprint,
};

fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[a-z\"\\\\/.-]{0,20}"]
}

fn boxed() -> impl Strategy<Value = Box<str>> {
    text().prop_map(Into::into)
}

fn texts() -> impl Strategy<Value = BTreeMap<String, String>> {
    collection::btree_map(text(), text(), 0..3)
}

fn names_of() -> impl Strategy<Value = BTreeSet<String>> {
    collection::btree_set(text(), 0..3)
}

fn instant() -> impl Strategy<Value = Timestamp> {
    let all = Timestamp::MIN.as_nanosecond()..=Timestamp::MAX.as_nanosecond();
    all.prop_map(|at| Timestamp::from_nanosecond(at).unwrap())
}

fn maybe_instant() -> impl Strategy<Value = Option<Timestamp>> {
    option::of(instant())
}

fn condition() -> impl Strategy<Value = Condition> {
    let word = || prop_oneof![select(vec!["Ready", "True", "TokenValid"]).prop_map(str::to_owned), text()];
    (word(), word(), word(), text(), instant(), any::<i64>()).prop_map(
        |(type_, status, reason, message, last_transition_time, observed_generation)| Condition {
            type_: type_.into(),
            status: status.into(),
            reason: reason.into(),
            message,
            last_transition_time,
            observed_generation,
        },
    )
}

fn spec() -> impl Strategy<Value = SquadcastCredentialSpec> {
    let policies = vec![CreationPolicy::Owner, CreationPolicy::Orphan, CreationPolicy::Merge];
    let target = (text(), select(policies), texts(), texts(), option::of(texts())).prop_map(
        |(name, creation_policy, labels, annotations, template)| Target {
            name,
            creation_policy,
            labels,
            annotations,
            template,
        },
    );
    let kinds = vec![WorkloadKind::Deployment, WorkloadKind::StatefulSet, WorkloadKind::DaemonSet];
    let restart = (select(kinds), text()).prop_map(|(kind, name)| RolloutRestartTarget { kind, name });
    (
        (text(), text(), text()),
        select(vec![RefreshTokenRotation::Ignore, RefreshTokenRotation::WriteBack]),
        target,
        (option::of(1u32..300_000_000), any::<Option<i32>>()),
        collection::vec(restart, 0..3),
        any::<bool>(),
    )
        .prop_map(|((region, name, key), rotation, target, (before, percentage), restarts, suspend)| {
            SquadcastCredentialSpec {
                region,
                refresh_token_secret_ref: RefreshTokenSecretRef { name, key },
                refresh_token_rotation: rotation,
                target,
                renew_before: before.map(|seconds| format!("{seconds}s").parse().unwrap()),
                renew_before_percentage: percentage,
                rollout_restart_targets: restarts,
                suspend,
            }
        })
}

fn status() -> impl Strategy<Value = SquadcastCredentialStatus> {
    let maybe = || option::of(text());
    (
        (any::<Option<i64>>(), collection::vec(condition(), 0..4), any::<Option<i32>>()),
        (maybe_instant(), maybe_instant(), maybe_instant()),
        (maybe_instant(), maybe_instant(), maybe_instant()),
        (maybe(), maybe(), maybe(), maybe()),
    )
        .prop_map(|(a, b, c, d)| SquadcastCredentialStatus {
            observed_generation: a.0,
            conditions: a.1,
            failures: a.2,
            issued_at: b.0,
            expires_at: b.1,
            renew_at: b.2,
            last_renewed_at: c.0,
            last_failure_at: c.1,
            next_attempt_at: c.2,
            target_name: d.0,
            last_handled_renew_request: d.1,
            last_attempt_fingerprint: d.2,
            restarted_data_hash: d.3,
        })
}

fn any_credential() -> impl Strategy<Value = Credential> {
    let name = "[a-z0-9.-]{1,30}";
    ((name, name), boxed(), boxed(), any::<(i64, bool)>(), instant(), option::of(boxed()), spec(), status())
        .prop_map(
            |((namespace, name), uid, resource_version, flags, created, renew_request, spec, status)| {
                Credential {
                    key: Key::new(&namespace, &name),
                    uid: (*uid).into(),
                    resource_version,
                    generation: flags.0,
                    created: Timestamp::from_second(created.as_second()).unwrap(),
                    deleting: flags.1,
                    renew_request,
                    spec,
                    status,
                }
            },
        )
}

fn owner() -> impl Strategy<Value = OwnerReference> {
    (text(), text(), text(), text(), any::<(Option<bool>, Option<bool>)>()).prop_map(
        |(api_version, kind, name, uid, (block_owner_deletion, controller))| OwnerReference {
            api_version,
            kind,
            name,
            uid,
            block_owner_deletion,
            controller,
        },
    )
}

fn any_facts() -> impl Strategy<Value = SecretFacts> {
    let token = (instant(), instant(), any::<u64>(), boxed(), boxed()).prop_map(
        |(issued, expires, fingerprint, data_hash, template_hash)| Token {
            life: Life { issued, expires },
            fingerprint: Fingerprint::parse(&format!("{fingerprint:016x}")).unwrap(),
            data_hash,
            template_hash,
        },
    );
    let managed = (names_of(), names_of(), names_of()).prop_map(|(data, labels, annotations)| Managed {
        data,
        labels,
        annotations,
    });
    (
        (boxed(), boxed(), option::of(boxed()), option::of(boxed()), option::of(boxed())),
        any::<[bool; 5]>(),
        (option::of(owner()), collection::vec(owner(), 0..3)),
        option::of(token),
        (managed, texts()),
    )
        .prop_map(|(texts, flags, owners, token, (managed, managed_metadata))| SecretFacts {
            uid: texts.0,
            resource_version: texts.1,
            credential: texts.2,
            allow_write_by: texts.3,
            other_manager: texts.4,
            deleting: flags[0],
            managed_by_us: flags[1],
            source_allowed: flags[2],
            untouched: flags[3],
            immutable_set: flags[4],
            controller: owners.0.map(ControllerRef::from),
            other_owners: owners.1,
            token,
            managed,
            managed_metadata,
        })
}

proptest! {
    #[test]
    fn a_resource_is_unpacked_as_it_was_packed(credential in any_credential()) {
        let entry = Entry::new(&std::hash::RandomState::new(), 0, &credential);
        prop_assert_eq!(entry.credential(&credential.key), Some(credential));
    }

    #[test]
    fn facts_are_unpacked_as_they_were_packed(facts in any_facts()) {
        prop_assert_eq!(Packed::new(&facts).unpack(), Some(facts));
    }
}
