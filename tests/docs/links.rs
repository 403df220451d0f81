//! Every relative link leads to a file and a heading that exist, and the README leads to every page.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use crate::markdown::{anchors, links};
use crate::{file, root};

/// All Markdown of the repository that people read.
pub fn pages() -> Vec<String> {
    let mut pages: Vec<String> =
        ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "tests/README.md"].map(str::to_owned).into();
    pages.push("charts/squadcast-operator/README.md".to_owned());
    for folder in ["docs", ".github", ".github/ISSUE_TEMPLATE"] {
        let mut names: Vec<_> =
            std::fs::read_dir(root().join(folder)).unwrap().map(|e| e.unwrap().path()).collect();
        names.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
        names.sort();
        pages
            .extend(names.iter().map(|path| path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned()));
    }
    pages
}

/// A path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => assert!(plain.pop(), "{} leaves the repository", path.display()),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

/// Where a link of a page leads: a file of the repository and an anchor; nothing for other sites.
fn target(page: &str, link: &str) -> Option<(String, Option<String>)> {
    if link.starts_with("https://") {
        return None;
    }
    assert!(!link.contains("://") && !link.starts_with('/'), "{page}: {link}");
    let (path, anchor) = link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
    let folder = Path::new(page).parent().unwrap();
    let path =
        if path.is_empty() { page.to_owned() } else { plain(&folder.join(path)).display().to_string() };
    Some((path, anchor.map(str::to_owned)))
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut checked = 0;
    for page in pages() {
        for link in links(&file(&page)) {
            let Some((path, anchor)) = target(&page, &link) else { continue };
            assert!(root().join(&path).exists(), "{page}: {link} leads to no file");
            if let Some(anchor) = anchor {
                assert!(anchors(&file(&path)).contains(&anchor), "{page}: {link} leads to no heading");
            }
            checked += 1;
        }
    }
    assert!(checked > 60, "{checked}");
}

#[test]
fn the_readme_leads_to_every_page() {
    let linked: BTreeSet<String> = links(&file("README.md"))
        .iter()
        .filter_map(|link| target("README.md", link))
        .map(|(path, _)| path)
        .collect();
    for page in pages().iter().filter(|page| page.starts_with("docs/")) {
        assert!(linked.contains(page), "the README does not lead to {page}");
    }
}
