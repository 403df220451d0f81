//! The filters and tests that a template may use: `b64encode` and MiniJinja's own, without those whose result can
//! be far larger than what goes in (`format`, `indent`, `pprint`, `batch`, `slice`) and those that serve loops and
//! objects. What can grow in a chain takes a text of limited length; the rest is held by the fuel.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use minijinja::{
    Environment, Error, ErrorKind, State, Value, filters,
    value::{Kwargs, ValueKind},
};

/// The filters, in the order of the alphabet.
#[rustfmt::skip]
pub const FILTERS: [&str; 33] = [
    "abs", "b64encode", "bool", "capitalize", "count", "d", "default", "e", "escape", "first", "float", "int",
    "join", "last", "length", "lines", "list", "lower", "max", "min", "replace", "reverse", "round", "safe",
    "sort", "split", "string", "title", "tojson", "trim", "unique", "upper", "urlencode",
];

/// The filters whose result is a number, whatever goes in. `int` and `float` may be given another default.
pub const NUMERIC: [&str; 6] = ["abs", "count", "float", "int", "length", "round"];

/// The tests (`x is …`), in the order of the alphabet.
#[rustfmt::skip]
pub const TESTS: [&str; 34] = [
    "boolean", "defined", "divisibleby", "endingwith", "eq", "equalto", "escaped", "even", "false", "float", "ge",
    "greaterthan", "gt", "in", "int", "integer", "iterable", "le", "lessthan", "lower", "lt", "mapping", "ne",
    "none", "number", "odd", "safe", "sameas", "sequence", "startingwith", "string", "true", "undefined", "upper",
];

/// The longest text that a filter takes which makes more of it, in bytes.
const MAX_INPUT: usize = 256 * 1024;

/// Adds what MiniJinja does not have, or has without a bound.
pub fn add_to(environment: &mut Environment<'_>) {
    environment.add_filter("b64encode", b64encode);
    environment.add_filter("e", escape);
    environment.add_filter("escape", escape);
    environment.add_filter("split", split);
    environment.add_filter("tojson", tojson);
    environment.add_filter("urlencode", urlencode);
}

/// Base64 of a text or a number, standard alphabet, padded.
fn b64encode(value: &Value) -> Result<String, Error> {
    bounded(value)?;
    match value.kind() {
        ValueKind::String => Ok(STANDARD.encode(value.as_str().unwrap_or_default())),
        ValueKind::Number => Ok(STANDARD.encode(value.to_string())),
        ValueKind::Undefined => Err(ErrorKind::UndefinedError.into()),
        kind => Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("b64encode takes a text or a number, not a {kind}"),
        )),
    }
}

/// MiniJinja's, which grows a text up to sixfold.
fn escape(state: &mut State<'_, '_>, value: &Value) -> Result<Value, Error> {
    bounded(value)?;
    filters::escape(state, value)
}

/// MiniJinja's, which takes 24 bytes for each part.
fn split(value: &Value, separator: Option<Arc<str>>, most: Option<i64>) -> Result<Value, Error> {
    bounded(value)?;
    filters::split(value, separator, most)
}

/// MiniJinja's without an indentation, which could be of any width.
fn tojson(value: &Value) -> Result<Value, Error> {
    bounded(value)?;
    filters::tojson(value, None, Kwargs::from_iter(Vec::<(String, Value)>::new()))
}

/// MiniJinja's, which grows a text up to threefold.
fn urlencode(value: &Value) -> Result<String, Error> {
    bounded(value)?;
    filters::urlencode(value)
}

/// Refuses a text that is too long.
fn bounded(value: &Value) -> Result<(), Error> {
    match value.as_str() {
        Some(text) if text.len() > MAX_INPUT => Err(ErrorKind::OutOfFuel.into()),
        _ => Ok(()),
    }
}
