//! Writes that bring no token: labels, annotations and owners of the target, the end of former ones, and the
//! question whether a write would be let through.

use std::sync::Arc;

use super::{Acted, refused_write};
use crate::{
    api::{Key, Reason},
    reconcile::{
        Case, Context, Source, Target, Trouble,
        trouble::{Refusal, refusal, spellings},
    },
    secret::{
        self, SecretFacts,
        api::{self, FullSecret},
    },
};

/// A value that is shorter is no token, but a word that a message may hold.
const SHORTEST_TOKEN: usize = 16;

/// Writes labels, annotations and owners.
pub async fn rewrite(ctx: &Context, case: &Case<'_>) -> Acted {
    let Some(facts) = case.seen.target.facts() else {
        return Acted::Changed;
    };
    if !(ctx.may_act)() {
        return Acted::Dropped;
    }
    let key = case.credential().target();
    let body = secret::patch_metadata(case.desired(), facts);
    match api::patch(&ctx.client, key.namespace(), key.name(), &body, false).await {
        Ok(target) => Acted::Rewritten(Box::new(target)),
        Err(error) => {
            refused(ctx, case, &error, &format!("update Secret \"{}\"", key.name()), known(case)).await
        }
    }
}

/// Asks the API server whether the target could be written, before an exchange is spent on it.
pub(super) async fn may_write(ctx: &Context, case: &Case<'_>) -> Result<(), Acted> {
    let key = case.credential().target();
    let answer = match &case.seen.target {
        Target::Absent => {
            let body = serde_json::json!({
                "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": { "name": key.name() },
            });
            api::create(&ctx.client, key.namespace(), &body, true).await
        }
        Target::Present { facts, .. } => {
            let body = serde_json::json!({
                "metadata": { "uid": &*facts.uid, "resourceVersion": &*facts.resource_version },
            });
            api::patch(&ctx.client, key.namespace(), key.name(), &body, true).await
        }
    };
    let doing = |name: &str| format!("write Secret \"{name}\"");
    if let Err(error) = answer {
        return Err(refused(ctx, case, &error, &doing(key.name()), known(case)).await);
    }
    if case.input.writes_back {
        let source = case.credential().source();
        let nothing = serde_json::json!({});
        let answer = api::patch(&ctx.client, source.namespace(), source.name(), &nothing, true).await;
        if let Err(error) = answer {
            return Err(refused(ctx, case, &error, &doing(source.name()), known(case)).await);
        }
    }
    Ok(())
}

/// Judges a refused write. The API server's words may be those of a webhook, which has seen what was to be written
/// and what the target holds: they are told without these tokens, and without what the target holds.
pub(super) async fn refused(
    ctx: &Context,
    case: &Case<'_>,
    error: &kube::Error,
    doing: &str,
    mut tokens: Vec<String>,
) -> Acted {
    let judge = |tokens: &[String]| {
        let tokens: Vec<_> = tokens.iter().map(String::as_str).collect();
        refusal(error, doing, &tokens)
    };
    let judged = judge(&tokens);
    let by_somebody = matches!(&judged, Refusal::Trouble(t) if t.reason == Reason::WriteFailed)
        && matches!(error, kube::Error::Api(_));
    if !by_somebody {
        return refused_write(judged);
    }
    let key = case.credential().target();
    match api::get(&ctx.client, key.namespace(), key.name()).await {
        Ok(secret) => {
            let texts = secret.iter().flat_map(FullSecret::texts).filter(|text| text.len() >= SHORTEST_TOKEN);
            tokens.extend(texts.map(str::to_owned));
            refused_write(judge(&tokens))
        }
        Err(_) => Acted::Failed(Trouble::new(
            Reason::WriteFailed,
            format!("could not {doing}: the API server refuses it, and does not answer further questions"),
        )),
    }
}

/// The tokens at hand where none is to be written.
fn known(case: &Case<'_>) -> Vec<String> {
    let found = match &case.seen.source {
        Source::Found(found) => Some(&found.token),
        _ => None,
    };
    spellings(case.memory.pending.as_ref().map(|pending| &pending.grant.access_token), found)
}

/// Deletes former targets once the new one is there; one that fails holds up no other. Says what went wrong.
pub async fn remove_former_targets(ctx: &Context, former: &[(Key, Arc<SecretFacts>)]) -> Option<Trouble> {
    let mut first = None;
    for (key, facts) in former.iter().filter(|(_, facts)| !facts.deleting) {
        let Err(error) = api::delete(&ctx.client, key.namespace(), key.name(), facts).await else { continue };
        let doing = format!("delete the former Secret \"{}\"", key.name());
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
