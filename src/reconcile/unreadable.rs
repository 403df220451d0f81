//! The Secrets could not be read. Pure.

use super::{
    Input, Known, Observation, Source, Target, Trouble,
    trouble::{Refusal, refusal},
};
use crate::{api::Reason, squadcast::Moment};

/// What to do about it.
pub(super) enum Unreadable {
    /// The resource's status can say it.
    Report(Observation, Trouble),
    /// The namespace goes.
    Gone,
    /// The API server has trouble; the status could not be written either.
    Later(String),
}

/// Judges the API server's refusal to let the Secrets be read.
pub(super) fn unreadable(error: &kube::Error, input: &Input) -> Unreadable {
    let credential = &input.credential;
    let doing = format!(
        "read Secrets \"{}\" and \"{}\"",
        credential.spec.refresh_token_secret_ref.name, credential.spec.target.name
    );
    match refusal(error, &doing, &[]) {
        Refusal::Trouble(trouble) if trouble.reason == Reason::Forbidden => {
            let target = match &input.target {
                Known::Facts(facts) | Known::Unwatched(Some(facts)) => {
                    Target::Present { facts: facts.clone(), content: None }
                }
                _ => Target::Absent,
            };
            let since = Moment::default();
            Unreadable::Report(
                Observation { source: Source::Unread, target, by_label: false, since },
                trouble,
            )
        }
        Refusal::Trouble(trouble) => Unreadable::Later(trouble.message),
        Refusal::Changed => Unreadable::Later("the object changed while it was read".to_owned()),
        Refusal::NamespaceGone => Unreadable::Gone,
    }
}
