//! What to do where an exchange failed: the words that a resource and `check` share. Pure.

/// What to look at between whoever asked and a region.
pub fn between(who: &str, region: &str) -> String {
    format!("check what lies between {who} and region \"{region}\": DNS, proxies, network policies.")
}
