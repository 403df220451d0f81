//! Reads the JSON of an answer, and wipes it from memory afterwards. Pure.

use serde_json::{Map, Value};
use zeroize::Zeroize;

/// A JSON object that may hold tokens; wiped when dropped.
pub(super) struct Json(Value);

impl Json {
    /// Reads an object; anything else is `None`.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let json = Self(serde_json::from_slice(bytes).ok()?);
        json.0.is_object().then_some(json)
    }

    /// Where this is Squadcast's error, its `error_message`, empty where that is no text.
    pub(super) fn error(&self) -> Option<&str> {
        let meta = self.0.get("meta")?.as_object()?;
        Some(meta.get("error_message").and_then(Value::as_str).unwrap_or_default())
    }

    /// The `data` of a granted token.
    pub(super) fn data(&self) -> Option<Data<'_>> {
        self.0.get("data")?.as_object().map(Data)
    }

    /// Every text that is called a token, wherever it is.
    pub(super) fn tokens(&self) -> Vec<&str> {
        let mut found = Vec::new();
        collect_tokens(&self.0, &mut found);
        found
    }
}

impl Drop for Json {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// The fields of `data`.
pub(super) struct Data<'a>(&'a Map<String, Value>);

impl<'a> Data<'a> {
    /// Reads a text.
    pub(super) fn text(&self, field: &str) -> Option<&'a str> {
        self.0.get(field)?.as_str()
    }

    /// Reads an integer of 64 bits.
    pub(super) fn number(&self, field: &str) -> Option<i64> {
        self.0.get(field)?.as_i64()
    }
}

fn collect_tokens<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| collect_tokens(value, found)),
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if name.ends_with("_token") => found.push(text),
                    _ => collect_tokens(value, found),
                }
            }
        }
        _ => {}
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(values) => values.iter_mut().for_each(wipe),
        Value::Object(fields) => fields.values_mut().for_each(wipe),
        _ => {}
    }
}
