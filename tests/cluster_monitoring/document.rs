//! Documents that hold what a run printed. With `WRITE_DOCS` set, a run writes them; else it compares.

use crate::release::file;
use crate::support::controlplane::repository;

/// Writes a document where that is wanted.
pub fn write(path: &str, text: &str) {
    if std::env::var_os("WRITE_DOCS").is_some_and(|write| !write.is_empty()) {
        std::fs::write(repository().join(path), text).expect("a document");
    }
}

/// A document of `docs/` tells what was seen just now, but for times, counts and ports.
pub fn tells(path: &str, seen: &str) {
    write(path, seen);
    let (told, seen) = (shape(&file(path)), shape(seen));
    let lacks: Vec<_> = seen.iter().filter(|line| !told.contains(line)).collect();
    let more: Vec<_> = told.iter().filter(|line| !seen.contains(line)).collect();
    assert!(
        lacks.is_empty() && more.is_empty(),
        "{path} is not what happens any more: run make pages, and look at the change\nit lacks {lacks:#?}\nit has {more:#?}"
    );
}

/// The lines, of which words with a digit are left out: they differ from run to run. Events of one second have no order.
fn shape(text: &str) -> Vec<String> {
    let word = |word: &str| {
        if word.contains(|c: char| c.is_ascii_digit()) { "#".to_owned() } else { word.to_owned() }
    };
    let mut lines: Vec<_> =
        text.lines().map(|line| line.split_whitespace().map(word).collect::<Vec<_>>().join(" ")).collect();
    lines.sort();
    lines
}

/// The part of a Markdown document under the heading that this anchor leads to.
pub fn section(document: &str, anchor: &str) -> String {
    let level = |line: &str| line.bytes().take_while(|byte| *byte == b'#').count();
    let mut lines = document.lines().skip_while(|line| level(line) == 0 || slug(line) != anchor);
    let heading = lines.next().unwrap_or_else(|| panic!("no heading for #{anchor}"));
    let own = level(heading);
    let body = lines.take_while(|line| level(line) == 0 || level(line) > own);
    [heading].into_iter().chain(body).collect::<Vec<_>>().join("\n").trim().to_owned()
}

/// A heading's anchor, for headings of one word.
fn slug(heading: &str) -> String {
    heading.trim_start_matches('#').trim().trim_matches('`').to_lowercase().replace(' ', "-")
}
