//! `--selector`: whether a text is a label selector as the API server reads it, which would answer a wrong one
//! with an error for ever. Pure.

use super::dns::is_subdomain;

/// The first part that is wrong.
pub(super) fn fault(text: &str) -> Option<&str> {
    if text.trim().is_empty() {
        return None;
    }
    let mut depth = 0;
    let outside = |c: char| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    };
    text.split(outside).map(str::trim).find(|part| !is_requirement(part))
}

fn is_requirement(text: &str) -> bool {
    if let Some(key) = text.strip_prefix('!') {
        return is_key(key.trim());
    }
    if let Some((head, values)) = text.strip_suffix(')').and_then(|text| text.split_once('(')) {
        let words: Vec<_> = head.split_whitespace().collect();
        return matches!(words[..], [key, "in" | "notin"] if is_key(key))
            && values.split(',').all(|value| is_value(value.trim()));
    }
    let compared = |operators: &[&str]| {
        let found = operators.iter().find_map(|operator| text.split_once(operator));
        found.map(|(key, value)| (key.trim(), value.trim()))
    };
    if let Some((key, value)) = compared(&["!=", "==", "="]) {
        return is_key(key) && is_value(value);
    }
    compared(&[">", "<"]).map_or_else(
        || is_key(text),
        |(key, value)| is_key(key) && is_value(value) && value.parse::<i64>().is_ok(),
    )
}

fn is_key(text: &str) -> bool {
    let (prefix, name) = text.rsplit_once('/').unwrap_or(("a", text));
    !name.is_empty() && is_value(name) && is_subdomain(prefix)
}

fn is_value(text: &str) -> bool {
    let ends = [text.bytes().next(), text.bytes().next_back()];
    text.len() <= 63
        && ends.iter().flatten().all(u8::is_ascii_alphanumeric)
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_api_server_reads() {
        for text in [
            "",
            " ",
            "a",
            "!a",
            "a=b",
            "a==b",
            "a != b",
            "a=",
            "example.com/team=A_b.c",
            "a in (b, c),d notin (),!e , f=g",
            "a>5",
        ] {
            assert_eq!(fault(text), None, "{text}");
        }
    }

    #[test]
    fn what_it_does_not() {
        for (text, part) in [
            ("a=b,", ""),
            ("a b", "a b"),
            ("a in b", "a in b"),
            ("a in (b", "a in (b"),
            ("a=b,c==d==e", "c==d==e"),
            ("=b", "=b"),
            ("!", "!"),
            ("-a", "-a"),
            ("a/b/c", "a/b/c"),
            ("A.b/c=d", "A.b/c=d"),
            ("a=-b", "a=-b"),
            ("a>b", "a>b"),
            ("a<", "a<"),
            ("a>-5", "a>-5"),
            ("a notin (b,c d)", "a notin (b,c d)"),
        ] {
            assert_eq!(fault(text), Some(part), "{text}");
        }
    }
}
