//! What to do where an exchange failed: the words that a resource and `check` share. Pure.

/// A message, and in a sentence of its own what to do, where there is anything to say of that.
pub fn advised(message: &str, advice: &str) -> String {
    let end = if advice.is_empty() || message.ends_with('.') { "" } else { "." };
    format!("{message}{end} {advice}").trim_end().to_owned()
}

/// What to look at between whoever asked and a region.
pub fn between(who: &str, region: &str) -> String {
    format!("check what lies between {who} and region \"{region}\": DNS, proxies, network policies.")
}
