//! `WriteBack`: a refresh token that Squadcast has replaced goes back into the Secret that it came from, before
//! anything else is done with the answer.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::json;

use super::{
    Case, Context,
    observe::FoundToken,
    trouble::{Refusal, Trouble, refusal, spellings},
};
use crate::{
    api::Reason,
    secret::{SecretMeta, api},
    squadcast::{Fingerprint, Grant, RefreshToken},
};

/// The source holds the new refresh token.
pub struct WrittenBack {
    /// The source as it is now.
    pub secret: SecretMeta,
    /// Of region and new refresh token.
    pub fingerprint: Fingerprint,
}

/// Why it does not.
pub enum NotWritten {
    /// The source holds another value by now: the user's wins.
    NewerValue,
    /// The API server did not do it.
    Refused(Refusal),
}

/// Another resource is still to write a new refresh token into its own Secret before there can be another token.
pub fn stuck(case: &Case<'_>) -> Trouble {
    let source = &case.credential().spec.refresh_token_secret_ref.name;
    Trouble::new(
        Reason::WriteFailed,
        format!(
            "Squadcast has replaced the refresh token in Secret \"{source}\", and another SquadcastCredential that uses it could not save the new one yet: see which one has Synced False with WriteFailed or Forbidden, and mend that first"
        ),
    )
}

/// Replaces the value in the source, on the condition that it is still the one that was sent.
pub async fn write_back(
    ctx: &Context,
    case: &Case<'_>,
    found: &FoundToken,
    grant: &Grant,
) -> Result<WrittenBack, NotWritten> {
    let Some(new) = &grant.rotated else {
        return Err(NotWritten::NewerValue);
    };
    let reference = &case.credential().spec.refresh_token_secret_ref;
    let key = case.credential().source();
    let region = &case.credential().spec.region;
    let done = |secret| Ok(WrittenBack { secret, fingerprint: new.fingerprint(region) });
    let path = format!("/data/{}", reference.key);
    let body = json!([
        { "op": "test", "path": path, "value": BASE64.encode(found.raw.as_slice()) },
        { "op": "replace", "path": path, "value": BASE64.encode(new.expose()) },
    ]);
    match api::json_patch(&ctx.client, key.namespace(), key.name(), &body).await {
        Ok(secret) => done(secret),
        Err(error) => {
            let secrets = spellings(Some(&grant.access_token), Some(&found.token));
            let also = spellings(None, Some(new));
            let secrets: Vec<_> = secrets.iter().chain(&also).map(String::as_str).collect();
            let refused = refusal(
                &error,
                &format!("write the new refresh token into Secret \"{}\"", key.name()),
                &secrets,
            );
            // A failed precondition is 422, as other refusals are: the value itself tells.
            match api::get(&ctx.client, key.namespace(), key.name()).await {
                Ok(Some(secret)) => {
                    match secret.value(&reference.key).and_then(|v| RefreshToken::parse(v).ok()) {
                        Some(value) if value == *new => done(secret.into_meta()),
                        Some(value) if value == found.token => Err(NotWritten::Refused(refused)),
                        _ => Err(NotWritten::NewerValue),
                    }
                }
                Ok(None) => Err(NotWritten::NewerValue),
                Err(_) => Err(NotWritten::Refused(refused)),
            }
        }
    }
}
