//! Who this process is: the name of its pod, and random text. Reads the environment and the host name.

use std::hash::{BuildHasher, RandomState};

/// The name of the pod, which Kubernetes also gives as host name; `squadcast-operator` where there is none.
pub fn pod_name() -> String {
    std::env::var("HOSTNAME")
        .ok()
        .or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| crate::api::names::FIELD_MANAGER.to_owned())
}

/// A name that no other process has, and this pod had not before its restart: `<pod>_<16 hex digits>`.
pub fn unique(pod: &str) -> String {
    format!("{pod}_{}", random_hex())
}

/// 16 hex digits, another text at every call. Good for names, useless as a secret.
pub fn random_hex() -> String {
    // The standard library seeds each of these from the operating system.
    format!("{:016x}", RandomState::new().hash_one(()))
}

/// At most `limit` bytes of the text, whole characters.
pub(crate) fn cut(text: &str, limit: usize) -> &str {
    let end = (0..=limit.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_the_same_twice() {
        assert_ne!(random_hex(), random_hex());
        assert_eq!(random_hex().len(), 16);
        assert!(unique("pod-1").starts_with("pod-1_"));
        assert!(!pod_name().is_empty());
    }

    #[test]
    fn cuts_between_characters() {
        assert_eq!(cut("häuser", 2), "h");
        assert_eq!(cut("häuser", 3), "hä");
        assert_eq!(cut("haus", 10), "haus");
    }
}
