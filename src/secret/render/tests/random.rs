//! That no template made at random panics, gets out of bounds or lets the token out.

use std::fmt::Write as _;

use proptest::{prelude::*, sample::select, test_runner::Config};

use super::*;

/// Pieces of templates, right and wrong, to put together at random.
#[rustfmt::skip]
const PIECES: [&str; 76] = [
    "{{", "}}", "{{-", "-}}", "{%", "%}", "{#", "#}", "if", "elif", "else", "endif", "for", "in", "set",
    "raw", "endraw", "access_token", "token_type", "issued_at", "expires_at", "region", "api_url", "nope",
    "'a'", "\"%\"", "''", "0", "1", "-1", "7", "1.5", "1e300", "99999999999999999999", "true", "none", "(",
    ")", "[", "]", "{", "}", ",", ":", ".", "|", "~", "+", "-", "*", "/", "//", "%", "**", "==", "<", "and",
    "or", "not", "is", "=", "b64encode", "urlencode", "replace", "join", "split", "int", "round", "tojson",
    "default", "length", "sort", "\n", "ü", "\\", "text",
];

/// Expressions that mostly compile.
fn expression() -> impl Strategy<Value = String> {
    let leaf = select(vec![
        "access_token",
        "access_token",
        "token_type",
        "issued_at",
        "expires_at",
        "region",
        "api_url",
        "'a'",
        "'%é'",
        "''",
        "0",
        "-1",
        "3",
        "1.5",
        "1e300",
        "9223372036854775807",
        "true",
        "none",
        "[]",
        "{}",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(5, 40, 3, |inner| {
        let operator =
            select(vec!["+", "-", "*", "/", "//", "%", "**", "~", "==", "<", "and", "or", "in", "not in"]);
        prop_oneof![
            (inner.clone(), operator, inner.clone()).prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            (inner.clone(), select(filters::FILTERS.to_vec())).prop_map(|(a, f)| format!("({a} | {f})")),
            (inner.clone(), select(filters::FILTERS.to_vec()), inner.clone())
                .prop_map(|(a, f, b)| format!("({a} | {f}({b}))")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("({a} | replace({b}, {c}))")),
            (inner.clone(), select(filters::TESTS.to_vec())).prop_map(|(a, t)| format!("({a} is {t})")),
            (inner.clone(), select(filters::TESTS.to_vec()), inner.clone())
                .prop_map(|(a, t, b)| format!("({a} is {t}({b}))")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("({a} if {b} else {c})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}[{b}]")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("{a}[{b}:{c}:-2]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[{a}, {b}]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{{{a}: {b}}}")),
            inner.clone().prop_map(|a| format!("(not {a})")),
            inner.prop_map(|a| format!("(-{a})")),
        ]
    })
}

/// Whatever is rendered stays in bounds, and whatever is refused says nothing of the token.
fn stays_in_bounds(source: &str) -> Result<(), TestCaseError> {
    let template = one("k", source);
    let mut messages = String::new();
    if let Err(error) = check(Some(&template)) {
        write!(messages, "{error} {error:?}").unwrap();
        prop_assert!(messages.len() < 2000, "{}", messages);
    }
    match render(Some(&template), &inputs(TOKEN)) {
        Ok(data) => prop_assert!(data["k"].len() <= MAX_DATA),
        Err(error) => write!(messages, "{error} {error:?}").unwrap(),
    }
    prop_assert!(!messages.contains("sEcReT"), "{}", messages);
    let messages = messages.to_lowercase();
    for part in ["p4ylo4d", "s1gn4ture", "c0vj", "terces"] {
        prop_assert!(!messages.contains(part), "{}", messages);
    }
    Ok(())
}

proptest! {
    #![proptest_config(Config::with_cases(10_000))]

    #[test]
    fn no_pieces_of_templates_break_out(pieces in prop::collection::vec(select(PIECES.to_vec()), 0..40)) {
        stays_in_bounds(&pieces.join(" "))?;
    }

    #[test]
    fn no_expression_breaks_out(expression in expression()) {
        stays_in_bounds(&format!("{{{{ {expression} }}}}"))?;
    }

    #[test]
    fn no_text_breaks_out(text in "\\PC{0,80}|[{}%#|'\"a-z0-9 .~*()-]{0,80}") {
        stays_in_bounds(&text)?;
        stays_in_bounds(&format!("{{{{ {text} }}}}"))?;
    }
}
