//! Whole objects as an API server might send them: resources of other schemas, Secrets with hostile annotations.

#![no_main]

use libfuzzer_sys::fuzz_target;
use squadcast_operator::{
    api::SquadcastCredential,
    reconcile::Credential,
    secret::{SecretMeta, api::FullSecret, render},
};

fuzz_target!(|data: &[u8]| {
    if let Ok(resource) = serde_json::from_slice::<SquadcastCredential>(data) {
        let credential = Credential::from(resource);
        let _ = (credential.source(), credential.target(), credential.renewal_policy());
        let _ = render::check(credential.spec.target.template.as_ref());
    }
    let _ = serde_json::from_slice::<SecretMeta>(data);
    if let Ok(secret) = serde_json::from_slice::<FullSecret>(data) {
        let _ = secret.data_is_ours();
        let _ = secret.keys().count();
    }
});
