//! CONTRIBUTING.md leads a stranger to files, modules and targets that there are.

use std::collections::BTreeSet;

use crate::links::pages;
use crate::markdown::{codes, fenced, prose, section};
use crate::{file, root};

/// The names of what is in a folder, without `.rs`.
fn parts(folder: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.map(|name| name.trim_end_matches(".rs").to_owned()).collect()
}

#[test]
fn every_file_that_is_named_exists() {
    let text = file("CONTRIBUTING.md");
    let folders: Vec<String> = [
        "src", "tests", "docs", "charts", "deploy", "crds", "fuzz", "benches", "examples", "image",
        ".github", ".ci",
    ]
    .map(|folder| format!("{folder}/"))
    .into();
    let mut checked = 0;
    for code in prose(&text).flat_map(codes) {
        if code.contains(' ') || !folders.iter().any(|folder| code.starts_with(folder)) {
            continue;
        }
        assert!(root().join(&code).exists(), "there is no {code}");
        checked += 1;
    }
    assert!(checked > 50, "{checked}");
}

#[test]
fn both_maps_show_every_part_of_the_code() {
    let contributing = file("CONTRIBUTING.md");
    let map = section(&contributing, "## The map of the house");
    let source = file("src/lib.rs");
    let picture: String = source.lines().filter(|line| line.starts_with("//! | ")).collect();
    for part in parts("src").iter().filter(|part| !["lib", "main"].contains(&part.as_str())) {
        let there = [format!("`src/{part}/`"), format!("`src/{part}.rs`")];
        assert!(there.iter().any(|place| map.contains(place)), "CONTRIBUTING.md's map lacks src/{part}");
        assert!(picture.contains(&format!("`{part}`")), "the map of src/lib.rs lacks {part}");
    }
}

#[test]
fn every_target_of_make_that_is_named_exists() {
    let makefile = file("Makefile");
    let targets: BTreeSet<&str> = makefile
        .lines()
        .filter(|line| line.contains(':'))
        .map(|line| line.split(':').next().unwrap())
        .collect();
    let mut checked = 0;
    for page in pages() {
        let text = file(&page);
        let pasted = fenced(&text).map(str::to_owned);
        let commands = prose(&text).flat_map(codes).chain(pasted).filter(|code| code.starts_with("make "));
        for command in commands {
            let words = command.split('#').next().unwrap().split_whitespace().skip(1);
            for target in words.filter(|word| !word.contains('=')) {
                assert!(targets.contains(target), "{page}: make {target}");
                checked += 1;
            }
        }
    }
    assert!(checked > 30, "{checked}");
}
