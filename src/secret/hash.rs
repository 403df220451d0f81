//! The hashes in a target's annotations: over its data, to see edits, and over what the data was rendered
//! from, to see changes.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::render::Data;

/// Over the data that the operator wrote: keys and values, in the order of the keys.
pub fn data_hash<'a>(entries: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut hash = Sha256::new();
    for (key, value) in entries {
        for part in [key.as_bytes(), value] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }
    hex(&hash.finalize()[..16])
}

/// The same over rendered data.
pub fn rendered_hash(data: &Data) -> String {
    data_hash(data.iter().map(|(key, value)| (key.as_str(), value.as_bytes())))
}

/// Region, a dot, and a hash over what the data is rendered from, the token aside: so a Secret tells for
/// which region its token is.
pub fn template_hash(region: &str, api_url: &str, template: Option<&BTreeMap<String, String>>) -> String {
    let mut hash = Sha256::new();
    hash.update(b"v1\0");
    if let Some(template) = template {
        hash.update(api_url.as_bytes());
        for (key, value) in template {
            for part in [key.as_bytes(), value.as_bytes()] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
        }
    }
    format!("{region}.{}", hex(&hash.finalize()[..8]))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_boundary_changes_the_hash() {
        let a = data_hash([("ab", &b"c"[..])]);
        let b = data_hash([("a", &b"bc"[..])]);
        assert_ne!(a, b);
        assert_eq!(a.len(), 32);
    }

    #[test]
    fn the_api_url_counts_only_where_a_template_may_name_it() {
        let template = BTreeMap::from([("k".to_owned(), "{{ api_url }}".to_owned())]);
        assert_eq!(template_hash("us", "a", None), template_hash("us", "b", None));
        assert_ne!(template_hash("us", "a", Some(&template)), template_hash("us", "b", Some(&template)));
        assert_ne!(template_hash("us", "a", None), template_hash("eu", "a", None));
        assert!(template_hash("us", "a", None).starts_with("us."));
    }
}
