//! Values of flags that have bounds. Pure.

use super::dns;
use crate::api::SpecDuration;

/// Longest time for an exchange: a reconcile waits for it.
const LONGEST_EXCHANGE: i64 = 600;

/// A number of things, at least one.
pub(super) fn count(text: &str) -> Result<u16, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| {
        format!("\"{text}\" is not a valid value; write a whole number from 1 to {}", u16::MAX)
    })
}

pub(super) fn exchange_timeout(text: &str) -> Result<SpecDuration, String> {
    let duration = text.parse::<SpecDuration>().ok().filter(|d| d.as_secs() <= LONGEST_EXCHANGE);
    duration.ok_or_else(|| {
        format!("\"{text}\" is not a valid value; write a time from 1s to 10m, as in 15s or 1m30s")
    })
}

pub(super) fn lease(text: &str) -> Result<String, String> {
    if dns::is_subdomain(text) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "\"{text}\" is no name of a Lease; write lower-case letters, digits, hyphens and dots, starting and ending with a letter or digit"
    ))
}

/// The name of a namespace; an empty text is none.
pub(super) fn namespace(text: &str) -> Result<String, String> {
    let name = text.trim();
    if name.is_empty() || dns::is_label(name) {
        return Ok(name.to_owned());
    }
    Err(format!(
        "\"{name}\" is no name of a namespace; write at most 63 lower-case letters, digits and hyphens, starting and ending with a letter or digit"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds() {
        for (text, ok) in
            [("1", true), ("65535", true), ("0", false), ("65536", false), ("-1", false), ("", false)]
        {
            assert_eq!(count(text).is_ok(), ok, "{text}");
        }
        for (text, ok) in
            [("1s", true), ("10m", true), ("600s", true), ("0s", false), ("10m1s", false), ("87600h", false)]
        {
            assert_eq!(exchange_timeout(text).is_ok(), ok, "{text}");
        }
    }
}
