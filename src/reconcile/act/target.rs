//! Writes that bring no token: labels, annotations and owners of the target, the end of former ones, and the
//! question whether a write would be let through.

use std::sync::Arc;

use super::{Acted, refused_write};
use crate::{
    api::Reason,
    reconcile::{
        Case, Context, Target, Trouble,
        trouble::{Refusal, refusal},
    },
    secret::{self, SecretFacts, api},
};

/// Writes labels, annotations and owners.
pub async fn rewrite(ctx: &Context, case: &Case<'_>) -> Acted {
    let Some(facts) = case.seen.target.facts() else {
        return Acted::Changed;
    };
    if !(ctx.may_act)() {
        return Acted::Dropped;
    }
    let key = case.credential.target();
    let body = secret::patch_metadata(case.desired(), facts);
    match api::patch(&ctx.client, &key.namespace, &key.name, &body, false).await {
        Ok(target) => Acted::Rewritten(Box::new(target)),
        Err(error) => refused_write(refusal(&error, &format!("update Secret \"{}\"", key.name), &[])),
    }
}

/// Asks the API server whether the target could be written, before an exchange is spent on it.
pub(super) async fn may_write(ctx: &Context, case: &Case<'_>) -> Result<(), Acted> {
    let key = case.credential.target();
    let answer = match &case.seen.target {
        Target::Absent => {
            let body = serde_json::json!({
                "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": { "name": &*key.name },
            });
            api::create(&ctx.client, &key.namespace, &body, true).await
        }
        Target::Present { facts, .. } => {
            let body = serde_json::json!({
                "metadata": { "uid": &*facts.uid, "resourceVersion": &*facts.resource_version },
            });
            api::patch(&ctx.client, &key.namespace, &key.name, &body, true).await
        }
    };
    let refused = |error: kube::Error, name: &str| {
        refused_write(refusal(&error, &format!("write Secret \"{name}\""), &[]))
    };
    answer.map_err(|error| refused(error, &key.name))?;
    if case.writes_back {
        let source = case.credential.source();
        let nothing = serde_json::json!({});
        let answer = api::patch(&ctx.client, &source.namespace, &source.name, &nothing, true).await;
        answer.map_err(|error| refused(error, &source.name))?;
    }
    Ok(())
}

/// Deletes former targets once the new one is there; one that fails holds up no other. Says what went wrong.
pub async fn remove_former_targets(
    ctx: &Context,
    namespace: &str,
    former: &[(Arc<str>, Arc<SecretFacts>)],
) -> Option<Trouble> {
    let mut first = None;
    for (name, facts) in former.iter().filter(|(_, facts)| !facts.deleting) {
        let Err(error) = api::delete(&ctx.client, namespace, name, facts).await else { continue };
        let doing = format!("delete the former Secret \"{name}\"");
        let trouble = match refusal(&error, &doing, &[]) {
            Refusal::Trouble(trouble) => trouble,
            Refusal::Changed => Trouble::new(
                Reason::WriteFailed,
                format!("could not {doing}: it has just changed; trying again"),
            ),
            Refusal::NamespaceGone => continue,
        };
        first.get_or_insert(trouble);
    }
    first
}
