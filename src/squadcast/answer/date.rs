//! Dates and waits of HTTP headers. Pure.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

static PARSER: DateTimeParser = DateTimeParser::new().relaxed_weekday(true);

/// The bounds of what is waited on Squadcast's word, in seconds.
const WAIT: (i64, i64) = (1, 60 * 60);

/// Clocks this close agree, in seconds: `Date` has whole seconds, and the answer takes its time.
const AGREES: i64 = 5;

/// A year, in seconds. A `Date` further off is nonsense: no certificate is good for long enough that TLS would
/// work with a clock that is so wrong.
const ABSURD: i64 = 366 * 24 * 60 * 60;

/// Reads a date as HTTP writes it.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    PARSER.parse_timestamp(text.trim()).ok()
}

/// The server's clock less ours, in seconds: what the server called `date` came when we had `head_at`.
pub(super) fn skew(date: Timestamp, head_at: Timestamp) -> i64 {
    let skew = date.as_second().saturating_sub(head_at.as_second());
    if (AGREES + 1..=ABSURD).contains(&skew.abs()) { skew } else { 0 }
}

/// Reads a `Retry-After`, `now` being the clock of who wrote it.
pub(super) fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let seconds = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        text.parse().unwrap_or(i64::MAX)
    } else {
        parse(text)?.as_second().saturating_sub(now.as_second())
    };
    Some(Duration::from_secs(seconds.clamp(WAIT.0, WAIT.1).unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    fn now() -> Timestamp {
        parse(DATE).unwrap()
    }

    #[test]
    fn dates() {
        assert_eq!(now().as_second(), 784_111_777);
        assert_eq!(parse(" Mon, 06 Nov 1994 08:49:37 GMT "), Some(now()));
        for text in
            ["", "soon", "784111777", "Sun, 06 Nov 1994 08:49:37 GMT GMT", "Sun, 99 Nov 1994 08:49:37 GMT"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn waits() {
        let wait = |text| retry_after(text, now()).map(|wait| wait.as_secs());
        for (text, seconds) in [
            ("7", Some(7)),
            (" 7 ", Some(7)),
            ("0", Some(1)),
            ("3600", Some(3600)),
            ("3601", Some(3600)),
            ("99999999999999999999999", Some(3600)),
            ("Sun, 06 Nov 1994 08:50:00 GMT", Some(23)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(1)),
            ("Mon, 07 Nov 1994 08:49:37 GMT", Some(3600)),
            ("", None),
            ("-7", None),
            ("1.5", None),
            ("soon", None),
        ] {
            assert_eq!(wait(text), seconds, "{text:?}");
        }
    }

    #[test]
    fn clocks() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let year = 366 * 86400;
        for (date, ours, seconds) in [
            (1000, 1000, 0),
            (1005, 1000, 0),
            (995, 1000, 0),
            (1006, 1000, 6),
            (994, 1000, -6),
            (8200, 1000, 7200),
            (year, 0, year),
            (year + 1, 0, 0),
            (0, year + 1, 0),
        ] {
            assert_eq!(skew(at(date), at(ours)), seconds, "{date} {ours}");
        }
    }
}
