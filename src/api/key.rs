//! What names an object of a kind.

use std::fmt;

use arcstr::ArcStr;

/// Namespace and name, as one text that all copies share: there are many of them for each resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(ArcStr);

/// Between the two; neither can hold it (Kubernetes: "Object Names and IDs").
const SEPARATOR: char = '/';

impl Key {
    /// A key of two texts.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self(arcstr::format!("{namespace}{SEPARATOR}{name}"))
    }

    /// Namespace.
    pub fn namespace(&self) -> &str {
        self.parts().0
    }

    /// Name.
    pub fn name(&self) -> &str {
        self.parts().1
    }

    fn parts(&self) -> (&str, &str) {
        self.0.split_once(SEPARATOR).unwrap_or_default()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
