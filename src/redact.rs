//! Makes the words of others, which may hold a secret, fit for a message: no tokens or passwords, no control characters,
//! not too long. Pure.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

/// The longest piece of a token that is looked for: an echo may be cut short.
const PIECE: usize = 12;

/// The shortest piece of a token, so that ordinary words are not taken for one.
const MIN_PIECE: usize = 8;

/// Longest part of an API server's or a library's message that is passed on, in characters.
const WORDS: usize = 400;

/// The words of an API server or a library in one line, without these tokens in any encoding that may come back.
pub(crate) fn clean(text: &str, tokens: &[&str]) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    Redaction::new(tokens.iter().copied()).clean(&line, WORDS)
}

/// A text with `user:password@` taken out of the URLs in it.
pub(crate) fn without_user_info(text: &str) -> String {
    let mut parts = text.split("://");
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| c == '/' || c.is_whitespace()).unwrap_or(part.len());
        let host = part[..end].rfind('@').map_or(0, |at| at + 1);
        clean.push_str("://");
        clean.push_str(&part[host..]);
    }
    clean
}

/// Tokens to look for, as they are and in the usual encodings: by size, all pieces of that size in lower case,
/// sorted. So the time it takes does not grow with the number of tokens that a stranger puts in an answer.
pub(crate) struct Redaction(BTreeMap<usize, Zeroizing<Vec<u128>>>);

impl Redaction {
    /// Looks for these tokens.
    pub(crate) fn new<'a>(tokens: impl IntoIterator<Item = &'a str>) -> Self {
        let mut pieces = BTreeMap::<usize, Zeroizing<Vec<u128>>>::new();
        for form in tokens.into_iter().flat_map(forms).filter(|form| !form.is_empty()) {
            let size = (form.len() / 2).clamp(MIN_PIECE, PIECE).min(form.len());
            pieces.entry(size).or_default().extend(form.as_bytes().windows(size).map(pack));
        }
        for pieces in pieces.values_mut() {
            pieces.sort_unstable();
        }
        Self(pieces)
    }

    /// `text` without control characters, with `[redacted]` for every piece of a token, `max` characters at most.
    pub(crate) fn clean(&self, text: &str, max: usize) -> String {
        let text: Zeroizing<String> = Zeroizing::new(text.chars().filter(|c| is_shown(*c)).collect());
        let hidden = self.hidden(text.as_bytes());
        let mut shown = String::new();
        let mut gap = false;
        for (at, c) in text.char_indices() {
            if !hidden[at] {
                shown.push(c);
            } else if !gap {
                shown.push_str("[redacted]");
            }
            gap = hidden[at];
        }
        if let Some((end, _)) = shown.char_indices().nth(max) {
            let keep = shown[..end].char_indices().next_back().map_or(0, |(at, _)| at);
            shown.truncate(keep);
            shown.push('…');
        }
        shown
    }

    /// Which bytes belong to a token. Tokens are ASCII, so that no character is cut.
    fn hidden(&self, text: &[u8]) -> Vec<bool> {
        let mut hidden = vec![false; text.len()];
        for (&size, pieces) in &self.0 {
            for (at, window) in text.windows(size).enumerate() {
                if pieces.binary_search(&pack(window)).is_ok() {
                    hidden[at..at + size].fill(true);
                }
            }
        }
        hidden
    }
}

/// At most 16 bytes as a number, in lower case.
fn pack(bytes: &[u8]) -> u128 {
    bytes.iter().fold(0, |number, b| number << 8 | u128::from(b.to_ascii_lowercase()))
}

/// Control characters, and those that only change how others are shown, are not.
fn is_shown(c: char) -> bool {
    let invisible = matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    !c.is_control() && !invisible
}

/// A token as it is, percent-encoded, escaped for JSON, in hex, and in base64, also within a longer text.
fn forms(token: &str) -> Vec<Zeroizing<String>> {
    let bytes = token.as_bytes();
    let hex = |b: &u8| format!("{b:02x}");
    let percent = |b: &u8| {
        let plain = b.is_ascii_alphanumeric() || b"-._~".contains(b);
        if plain { char::from(*b).to_string() } else { format!("%{b:02x}") }
    };
    let json = token.replace('\\', "\\\\").replace('"', "\\\"");
    let mut forms = vec![token.to_owned(), bytes.iter().map(hex).collect()];
    forms.extend(
        [bytes.iter().map(percent).collect(), json].into_iter().filter(|form: &String| form != token),
    );
    for lead in 0..3 {
        let text = Zeroizing::new([&[0; 2][..lead], bytes].concat());
        // What also depends on neighbouring bytes is left out at both ends.
        let (start, end) = ((lead * 8).div_ceil(6), text.len() * 8 / 6);
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let encoded = Zeroizing::new(engine.encode(&*text));
            forms.push(encoded.get(start..end).unwrap_or_default().to_owned());
        }
    }
    forms.into_iter().map(Zeroizing::new).collect()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::{clean as clean_line, *};

    const TOKEN: &str = "9f8e7d6c5b4a39281706f5e4d3c2b1a0";

    fn clean(text: &str) -> String {
        Redaction::new([TOKEN, "other+token/with=signs"]).clean(text, 256)
    }

    #[test]
    fn lines_are_cut_and_cleaned() {
        assert_eq!(clean_line("a\nb\u{1b}[31m", &[]), "a b [31m");
        assert_eq!(clean_line(&"x".repeat(WORDS + 1), &[]).chars().count(), WORDS);
        let data = STANDARD.encode("Bearer canary-0123456789");
        assert!(clean_line(&data, &["canary-0123456789"]).ends_with("[redacted]"));
    }

    #[test]
    fn no_password_of_a_url_is_told() {
        for (text, clean) in [
            ("proxy socks5://alice:hunter2@127.0.0.1:9/ requires", "proxy socks5://127.0.0.1:9/ requires"),
            ("http://a:p@ss@b:1", "http://b:1"),
            ("https://b/@x and ftp://u@c d@e", "https://b/@x and ftp://c d@e"),
            ("no URL, user@host", "no URL, user@host"),
        ] {
            assert_eq!(without_user_info(text), clean);
        }
    }

    #[test]
    fn ordinary_words_stay() {
        let words = "unauthorized: invalid refresh token, see https://squadcast.com/\u{e9}?a=b&c=9f8e7d";
        assert_eq!(clean(words), words);
        assert_eq!(clean(""), "");
    }

    #[test]
    fn tokens_go() {
        for text in [
            TOKEN.to_owned(),
            TOKEN.to_uppercase(),
            TOKEN[4..20].to_owned(),
            TOKEN.bytes().flat_map(|b| format!("{b:02X}").into_bytes()).map(char::from).collect(),
            format!("{}\n{}", &TOKEN[..9], &TOKEN[9..]),
            format!("{}\u{200b}{}", &TOKEN[..9], &TOKEN[9..]),
            "other%2Btoken%2Fwith%3dsigns".to_owned(),
        ] {
            assert_eq!(clean(&format!("<{text}>")), "<[redacted]>", "{text}");
        }
        assert_eq!(clean(&format!("{TOKEN}{TOKEN}")), "[redacted]");
    }

    #[test]
    fn a_token_in_longer_base64_goes() {
        for lead in ["", "a", "ab", "abc"] {
            let text = clean(&STANDARD.encode(format!("{lead}{TOKEN}!!")));
            assert!(text.contains("[redacted]") && text.len() < 25, "{lead}: {text}");
        }
    }

    #[test]
    fn control_characters_go() {
        assert_eq!(clean("a\r\nb\0c\u{1b}[31m\u{85}d\u{202e}e\tf"), "abc[31mdef");
    }

    #[test]
    fn long_words_are_cut_after_tokens_went() {
        assert_eq!(clean(&"\u{fc}".repeat(256)), "\u{fc}".repeat(256));
        assert_eq!(clean(&"\u{fc}".repeat(257)), format!("{}…", "\u{fc}".repeat(255)));
        let text = clean(&format!("{}{TOKEN}{}", "x".repeat(240), "y".repeat(300)));
        assert_eq!(text, format!("{}[redacted]yyyyy…", "x".repeat(240)));
        assert_eq!(text.chars().count(), 256);
    }

    proptest! {
        #[test]
        fn no_piece_of_a_token_is_left(token in "[!-~]{12,64}", before in ".{0,300}", after in ".{0,300}", cut in 0..13usize) {
            let cut = cut.min(token.len() - 12);
            let secrets = Redaction::new([token.as_str()]);
            let shown = secrets.clean(&format!("{before}{}{after}", &token[cut..]), 256);
            prop_assert!(shown.chars().count() <= 256);
            for piece in token.as_bytes().windows(12) {
                let piece = std::str::from_utf8(piece).unwrap();
                prop_assert!(!shown.contains(piece), "{} in {}", piece, shown);
            }
        }
    }
}
