//! A uid as it is held at rest. It is 36 letters of chance, which no compression makes shorter: 22 letters hold the same.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// Before a uid that is held as it is, since it is no UUID as Kubernetes writes them; no base64 begins with it.
const PLAIN: char = '=';

pub(crate) fn serialize<S: Serializer>(uid: &impl AsRef<str>, serializer: S) -> Result<S::Ok, S::Error> {
    let uid = uid.as_ref();
    let short = number(uid).map(|number| URL_SAFE_NO_PAD.encode(number.to_be_bytes()));
    serializer.serialize_str(&short.unwrap_or_else(|| format!("{PLAIN}{uid}")))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>, T: From<String>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let held = String::deserialize(deserializer)?;
    if let Some(uid) = held.strip_prefix(PLAIN) {
        return Ok(uid.to_owned().into());
    }
    let mut bytes = [0; 16];
    match URL_SAFE_NO_PAD.decode_slice(&held, &mut bytes) {
        Ok(16) => Ok(text(u128::from_be_bytes(bytes)).into()),
        _ => Err(D::Error::custom("no uid")),
    }
}

/// The number that a UUID stands for, where this is one as Kubernetes writes them.
fn number(uid: &str) -> Option<u128> {
    let number = u128::from_str_radix(&uid.replace('-', ""), 16).ok()?;
    (text(number) == uid).then_some(number)
}

fn text(number: u128) -> String {
    let mut text = String::with_capacity(36);
    // A text takes whatever is written to it.
    let _ = write!(text, "{number:032x}");
    for place in [8, 13, 18, 23] {
        text.insert(place, '-');
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Serialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Object {
        #[serde(with = "super")]
        uid: Box<str>,
    }

    proptest! {
        #[test]
        fn it_is_as_it_was(uid in prop_oneof![any::<String>(), "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-fA-F]{12}", "[-0-9a-f+=]{0,40}"]) {
            let object = Object { uid: uid.into() };
            let held = serde_json::to_string(&object).unwrap();
            prop_assert_eq!(serde_json::from_str::<Object>(&held).unwrap(), object);
        }
    }

    #[test]
    fn the_usual_is_short() {
        let object = Object { uid: "3f8a0c52-9b1e-4d7c-8a56-0e2b7d914c33".into() };
        assert_eq!(serde_json::to_string(&object).unwrap(), r#"{"uid":"P4oMUpseTXyKVg4rfZFMMw"}"#);
    }
}
