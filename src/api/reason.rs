//! The one catalogue of reasons: what a condition, an event, a metric and a log line may name.

use std::fmt;

macro_rules! catalogue {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Why a condition has its status. Part of the interface: names never change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The name as users see it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// The reason of this name.
            pub fn parse(name: &str) -> Option<Self> {
                match name { $(stringify!($name) => Some(Self::$name),)+ _ => None }
            }
        }
    };
}

catalogue! {
    /// `Ready` is true: the target holds an unexpired token.
    TokenValid,
    /// `Ready` is false: the token has expired, or there is none yet and nothing else stands in the way.
    TokenExpired,
    /// `Synced` is true: the last attempt did what it should.
    Synced,
    /// `spec.suspend` is true.
    Suspended,

    /// The Secret of `spec.refreshTokenSecretRef` does not exist.
    RefreshTokenSecretNotFound,
    /// The operator runs with `--require-source-label` and the Secret does not carry the label.
    RefreshTokenNotAllowed,
    /// The Secret lacks the key.
    RefreshTokenKeyNotFound,
    /// The value is empty, over 4 KiB, or no legal header value.
    RefreshTokenInvalid,

    /// `spec.region` names a region that the operator does not know.
    UnknownRegion,

    /// The target is somebody else's Secret.
    TargetNotOwned,
    /// `Merge`: the target does not exist.
    TargetNotFound,
    /// `Merge`: the target does not allow this resource, or holds a key that somebody else wrote.
    MergeNotAllowed,
    /// Another resource holds the target.
    TargetClaimed,
    /// The target is an immutable Secret.
    TargetImmutable,
    /// Somebody keeps changing the target back.
    TargetContested,
    /// A template does not compile or render.
    TemplateInvalid,
    /// The rendered Secret would be larger than Kubernetes allows.
    TargetTooLarge,

    /// Squadcast rejects the request as invalid (400, 404, 422).
    RequestRejected,
    /// Squadcast rejects the refresh token (401, 403).
    RefreshTokenRejected,
    /// Squadcast asks for payment (402).
    PaymentRequired,
    /// Squadcast asks to slow down (429).
    RateLimited,
    /// Squadcast has a fault of its own (409, 5xx).
    ServiceUnavailable,
    /// No answer in time.
    Timeout,
    /// DNS, TCP or TLS failed.
    ConnectionFailed,
    /// An answer that is not Squadcast's.
    InvalidResponse,

    /// The API server refused or failed a write.
    WriteFailed,
    /// RBAC forbids what the resource needs.
    Forbidden,
    /// A workload of `spec.rolloutRestartTargets` could not be restarted.
    RolloutRestartFailed,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Reason {
    /// Squadcast said no to this refresh token or request: confirmed by a second answer while a usable
    /// token is held.
    pub const fn is_rejection(self) -> bool {
        matches!(self, Self::RequestRejected | Self::RefreshTokenRejected | Self::PaymentRequired)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.as_str()), Some(*reason));
        }
        assert_eq!(Reason::parse("Elsewhere"), None);
    }
}
