//! How a reconcile ended, in one word: for the metric `squadcast_reconciles_total` and the log.

macro_rules! endings {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal,)+) => {
        /// How a reconcile ended. Part of the interface: words never change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Ending {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Ending {
            /// Every ending there is.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The word as users see it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }
        }
    };
}

endings! {
    /// A token was written.
    Issued = "issued",
    /// Labels, annotations or owners were written.
    Rewritten = "rewritten",
    /// All is well.
    Unchanged = "unchanged",
    /// An attempt failed.
    Failed = "failed",
    /// Something stands in the way that no attempt removes.
    Blocked = "blocked",
    /// `spec.suspend` is true.
    Suspended = "suspended",
    /// The next attempt has its time.
    Waiting = "waiting",
    /// There was nothing to do here any more, or somebody else does it.
    Dropped = "dropped",
    /// The API server could not be asked.
    Unreachable = "unreachable",
    /// A fault of the operator.
    Panic = "panic",
}
