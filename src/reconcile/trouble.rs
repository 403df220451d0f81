//! What went wrong in an attempt, as a reason, a message and a way to go on. Pure.

use crate::{
    api::Reason,
    ops::{describe, is_of_ending_namespace},
    redact::clean,
    squadcast::{AccessToken, Failure, RefreshToken},
};

/// A failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Of the catalogue.
    pub reason: Reason,
    /// For people; never holds a token.
    pub message: String,
    /// Seconds that Squadcast asked to wait.
    pub asked_to_wait: Option<i64>,
}

impl Trouble {
    /// Trouble with this reason and message.
    pub fn new(reason: Reason, message: String) -> Self {
        Self { reason, message, asked_to_wait: None }
    }
}

impl From<&Failure> for Trouble {
    fn from(failure: &Failure) -> Self {
        Self {
            reason: failure.reason,
            message: failure.message.clone(),
            asked_to_wait: failure
                .retry_after
                .map(|d| i64::try_from(d.as_millis().div_ceil(1000)).unwrap_or(i64::MAX)),
        }
    }
}

/// What a request to the API server ended with, where it did not do what was asked.
#[derive(Debug)]
pub enum Refusal {
    /// The object is not the one that was examined any more: look again.
    Changed,
    /// Its namespace is being deleted: nothing is worth doing.
    NamespaceGone,
    /// Anything else.
    Trouble(Trouble),
}

/// Reads an error of the API server. `doing` completes "could not …"; `secrets` are taken out of its words.
pub fn refusal(error: &kube::Error, doing: &str, secrets: &[&str]) -> Refusal {
    let kube::Error::Api(status) = error else {
        return Refusal::Trouble(Trouble::new(
            Reason::WriteFailed,
            format!(
                "could not {doing}: the API server did not answer as it should ({}); check that it is well, it is tried again by itself",
                clean(&describe(error), secrets)
            ),
        ));
    };
    let words = clean(&status.message, secrets);
    let refused = || {
        let code = status.code;
        Refusal::Trouble(Trouble::new(
            Reason::WriteFailed,
            format!(
                "could not {doing}: the API server refuses it with {code}; correct what it complains of: {words}"
            ),
        ))
    };
    let about = status.details.as_ref().map_or("", |details| details.kind.as_str());
    match status.code {
        _ if is_of_ending_namespace(status) => Refusal::NamespaceGone,
        // Many Secrets created at once under one quota get in each other's way there, not here.
        409 if about == "resourcequotas" => refused(),
        403 if is_rbac(&status.message) => Refusal::Trouble(Trouble::new(
            Reason::Forbidden,
            format!(
                "could not {doing}: the operator lacks the right; grant it to the operator's ServiceAccount ({words})"
            ),
        )),
        404 | 409 => Refusal::Changed,
        422 if status.message.contains("metadata.uid") => Refusal::Changed,
        _ => refused(),
    }
}

/// RBAC's own words, unlike those of quotas and admission, which are 403 as well.
fn is_rbac(message: &str) -> bool {
    message.contains("User \"") && message.contains(" cannot ")
}

/// Tokens, and what a template makes of them that encodes them.
pub fn spellings(access: Option<&AccessToken>, refresh: Option<&RefreshToken>) -> Vec<String> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    [access.map(AccessToken::expose), refresh.map(RefreshToken::expose)]
        .into_iter()
        .flatten()
        .flat_map(|token| [STANDARD.encode(token), token.to_owned()])
        .collect()
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn api(code: u16, message: &str) -> kube::Error {
        kube::Error::Api(Box::new(Status::failure(message, "").with_code(code)))
    }

    fn reason(code: u16, message: &str) -> Result<Reason, &'static str> {
        match refusal(&api(code, message), "write Secret \"x\"", &["canary"]) {
            Refusal::Trouble(trouble) => {
                assert!(!trouble.message.contains("canary"), "{}", trouble.message);
                Ok(trouble.reason)
            }
            Refusal::Changed => Err("changed"),
            Refusal::NamespaceGone => Err("namespace gone"),
        }
    }

    #[test]
    fn what_the_api_server_says() {
        for (code, message, expected) in [
            (
                403,
                "secrets \"x\" is forbidden: User \"system:serviceaccount:a:b\" cannot patch resource \"secrets\"",
                Ok(Reason::Forbidden),
            ),
            (
                403,
                "secrets \"x\" is forbidden: exceeded quota: q, requested: secrets=1",
                Ok(Reason::WriteFailed),
            ),
            (
                403,
                "secrets \"x\" is forbidden: unable to create new content in namespace a because it is being terminated",
                Err("namespace gone"),
            ),
            (400, "admission webhook \"w\" denied the request: canary", Ok(Reason::WriteFailed)),
            (409, "the object has been modified", Err("changed")),
            (404, "secrets \"x\" not found", Err("changed")),
            (
                422,
                "Secret \"x\" is invalid: metadata.uid: Invalid value: \"1\": field is immutable",
                Err("changed"),
            ),
            (422, "Secret \"x\" is invalid: data: Too long", Ok(Reason::WriteFailed)),
            (500, "etcdserver: request timed out", Ok(Reason::WriteFailed)),
        ] {
            assert_eq!(reason(code, message), expected, "{code} {message}");
        }
    }
}
