//! Whose Secret the target is, and what may be done with it. Pure.

use super::{Credential, observe::Target};
use crate::{
    api::{CreationPolicy, Reason},
    secret::render,
};

/// What a resource may do with its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// There is none: create it.
    Create,
    /// It may be written. `held`: what it tells of a token counts, since it is this resource's.
    Write {
        /// It is this resource's already, not only allowed.
        held: bool,
    },
    /// It will go by itself; wait for that.
    Wait(String),
    /// It may not be written.
    Refused(Reason, String),
}

/// Judges the target by its owners, labels and annotations.
pub fn claim(credential: &Credential, target: &Target) -> Claim {
    let name = credential.key.name();
    let secret = &credential.spec.target.name;
    let merge = credential.spec.target.creation_policy == CreationPolicy::Merge;
    let Target::Present { facts, content } = target else {
        return if merge {
            Claim::Refused(
                Reason::TargetNotFound,
                format!(
                    "Secret \"{secret}\" does not exist, and spec.target.creationPolicy Merge never creates it: create it with the annotation credentials.squadcast.com/allow-write-by: \"{name}\", or set spec.target.creationPolicy to Owner"
                ),
            )
        } else {
            Claim::Create
        };
    };
    let controlled = facts.controller.as_ref().is_some_and(|c| c.uid == credential.uid);
    let labelled =
        facts.controller.is_none() && facts.managed_by_us && facts.credential.as_deref() == Some(name);
    let own = controlled || labelled;
    // Merge never creates: once it is gone, somebody else has to.
    let anew = if merge {
        format!("create it anew with the annotation credentials.squadcast.com/allow-write-by: \"{name}\"")
    } else {
        "the operator creates it anew".to_owned()
    };
    if facts.deleting {
        return Claim::Wait(format!(
            "Secret \"{secret}\" is being deleted: once it is gone, {anew}; if it stays, look at its finalizers"
        ));
    }
    let other_controller = facts.controller.as_ref().filter(|_| !controlled);
    if let Some(former) = other_controller
        && former.credential() == Some(name)
    {
        return Claim::Wait(format!(
            "Secret \"{secret}\" still belongs to a former SquadcastCredential of this name: garbage collection removes it; then {anew}"
        ));
    }
    let allowed = other_controller.is_none() && facts.allow_write_by.as_deref() == Some(name);
    if !own && !allowed {
        let whose =
            other_controller.map_or_else(String::new, |c| format!(", controlled by {}", c.described()));
        return if merge {
            Claim::Refused(
                Reason::MergeNotAllowed,
                match other_controller {
                    Some(_) => format!(
                        "Secret \"{secret}\" exists{whose}, so the operator does not merge into it: choose a Secret without a controller, or another spec.target.name"
                    ),
                    None => format!(
                        "Secret \"{secret}\" does not allow this resource to write into it: annotate it with credentials.squadcast.com/allow-write-by: \"{name}\""
                    ),
                },
            )
        } else {
            Claim::Refused(
                Reason::TargetNotOwned,
                match other_controller {
                    Some(_) => format!(
                        "Secret \"{secret}\" exists and is not this resource's{whose}: choose another spec.target.name, or remove that Secret"
                    ),
                    None => format!(
                        "Secret \"{secret}\" exists and is not this resource's: choose another spec.target.name, delete that Secret, or hand it over with the annotation credentials.squadcast.com/allow-write-by: \"{name}\""
                    ),
                },
            )
        };
    }
    if content.as_ref().is_some_and(|c| c.immutable) {
        return Claim::Refused(
            Reason::TargetImmutable,
            format!(
                "Secret \"{secret}\" is immutable, so no token can be written into it: delete it, and {anew}; or choose another spec.target.name"
            ),
        );
    }
    if merge {
        let foreign = content.as_ref().and_then(|c| {
            render::keys(credential.spec.target.template.as_ref())
                .into_iter()
                .find(|k| c.keys.contains(*k) && !facts.managed.data.contains(*k))
        });
        if let Some(key) = foreign {
            return Claim::Refused(
                Reason::MergeNotAllowed,
                format!(
                    "Secret \"{secret}\" already holds the key \"{key}\", which somebody else wrote: remove that key, or write others with spec.target.template"
                ),
            );
        }
    }
    Claim::Write { held: own || facts.written_by_us() }
}
