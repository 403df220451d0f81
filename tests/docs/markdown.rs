//! As much of Markdown as the documentation uses: headings, tables, links.

use std::collections::BTreeMap;

/// The lines outside of fenced code.
pub fn prose(text: &str) -> impl Iterator<Item = &str> {
    lines(text, false)
}

/// The lines within fenced code.
pub fn fenced(text: &str) -> impl Iterator<Item = &str> {
    lines(text, true)
}

/// A fence may be indented or quoted.
fn lines(text: &str, within: bool) -> impl Iterator<Item = &str> {
    let mut code = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start_matches(['>', ' ']).starts_with("```");
        code ^= fence;
        !fence && code == within
    })
}

/// Level and text of each heading.
pub fn headings(text: &str) -> impl Iterator<Item = (usize, &str)> {
    prose(text).filter_map(|line| {
        let level = line.bytes().take_while(|byte| *byte == b'#').count();
        (level > 0).then(|| (level, line[level..].trim()))
    })
}

/// The anchors of all headings, as GitHub makes them: of equal ones the later have a number.
pub fn anchors(text: &str) -> Vec<String> {
    let mut seen = BTreeMap::new();
    let made = headings(text).map(|(_, heading)| {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect();
        let count = seen.entry(anchor.clone()).or_insert(0);
        *count += 1;
        if *count == 1 { anchor } else { format!("{anchor}-{}", *count - 1) }
    });
    made.collect()
}

/// The targets of links `[…](target)`, outside of code.
pub fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in prose(text) {
        let plain: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        let ends = plain.match_indices("](").map(|(at, _)| &plain[at + 2..]);
        found.extend(ends.filter_map(|rest| rest.split_once(')')).map(|(target, _)| target.to_owned()));
    }
    found
}

/// The cells of each row of a table whose first cell is code, or a link of it.
pub fn rows(text: &str) -> Vec<Vec<String>> {
    let of_code = prose(text).filter(|line| line.starts_with("| `") || line.starts_with("| [`"));
    of_code
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

/// All pieces of code in a text.
pub fn codes(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The text under a heading, up to the next one of its level or above.
pub fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let level = heading.bytes().take_while(|byte| *byte == b'#').count();
    let start = text.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no heading {heading}")) + 1;
    let body = &text[start + heading.len()..];
    let ends = (1..=level).filter_map(|level| body.find(&format!("\n{} ", "#".repeat(level))));
    &body[..ends.min().unwrap_or(body.len())]
}
