//! Durations as users write them in a resource: `12h`, `1h30m`, `90s`.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Ten years, the longest duration that a resource may hold.
const MAX_SECONDS: u64 = 10 * 365 * 86_400;

/// A duration of whole seconds between 1 s and 10 years.
///
/// `kube::core::Duration` is not used: it panics on some input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpecDuration(Duration);

/// Why a text is no [`SpecDuration`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not a duration: write hours, minutes and seconds in this order, as in 12h, 1h30m or 90s, between 1s and 10 years"
)]
pub struct InvalidDuration(String);

impl SpecDuration {
    /// The duration in whole seconds.
    pub fn as_secs(self) -> i64 {
        i64::try_from(self.0.as_secs()).unwrap_or(i64::MAX)
    }

    /// The same as the standard library's type.
    pub fn as_std(self) -> Duration {
        self.0
    }
}

impl FromStr for SpecDuration {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidDuration(text.chars().take(40).collect());
        let mut rest = text;
        let mut seconds = 0u64;
        for (unit, factor) in [('h', 3600), ('m', 60), ('s', 1)] {
            let Some((digits, after)) = rest.split_once(unit) else {
                continue;
            };
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return Err(invalid());
            }
            seconds = digits
                .parse::<u64>()
                .ok()
                .and_then(|n| n.checked_mul(factor))
                .and_then(|n| n.checked_add(seconds))
                .ok_or_else(invalid)?;
            rest = after;
        }
        if rest.is_empty() && (1..=MAX_SECONDS).contains(&seconds) {
            Ok(Self(Duration::from_secs(seconds)))
        } else {
            Err(invalid())
        }
    }
}

impl fmt::Display for SpecDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        for (unit, n) in [('h', seconds / 3600), ('m', seconds / 60 % 60), ('s', seconds % 60)] {
            if n > 0 {
                write!(f, "{n}{unit}")?;
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for SpecDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for SpecDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for SpecDuration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": 32 })
    }

    fn inline_schema() -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn accepts(text: &str, seconds: i64) {
        assert_eq!(text.parse::<SpecDuration>().map(SpecDuration::as_secs), Ok(seconds), "{text}");
    }

    fn refuses(text: &str) {
        assert!(text.parse::<SpecDuration>().is_err(), "{text}");
    }

    #[test]
    fn what_users_write() {
        accepts("12h", 43_200);
        accepts("1h30m", 5_400);
        accepts("90s", 90);
        accepts("1h0m0s", 3_600);
        accepts("87600h", 315_360_000);
        for text in ["", "0s", "h", "5", "1m1h", "1.5h", "-1s", " 1s", "1s ", "1d", "87600h1s", "1h1h", "1ms"]
        {
            refuses(text);
        }
        refuses("99999999999999999999s");
        refuses("9999999999999999999h");
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(seconds in 1u64..=MAX_SECONDS) {
            let duration = SpecDuration(Duration::from_secs(seconds));
            prop_assert_eq!(duration.to_string().parse::<SpecDuration>(), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in ".{0,60}") {
            let _ = text.parse::<SpecDuration>();
        }
    }
}
