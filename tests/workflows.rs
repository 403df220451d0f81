//! The workflows run only what is named by a commit, and with no right that they do not say they need. Their form is
//! checked by actionlint.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test fails")]

use std::path::Path;

use serde_json::{Value, json};

/// The workflows by their names.
fn workflows() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".github/workflows");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: std::path::PathBuf| {
        (path.display().to_string(), std::fs::read_to_string(&path).expect("a workflow"))
    };
    let found: Vec<_> = files.map(read).collect();
    assert!(found.len() >= 2, "{}", found.len());
    found
}

#[test]
fn every_action_is_pinned_by_commit_and_says_its_version() {
    let mut pinned = 0;
    for (name, text) in workflows() {
        // A workflow of this repository is of the same commit.
        let foreign = |line: &&str| line.contains("uses:") && !line.contains("uses: ./");
        for line in text.lines().filter(foreign) {
            let (action, version) = line.split_once(" # v").unwrap_or_else(|| panic!("{name}: {line}"));
            let (_, commit) = action.split_once('@').unwrap_or_else(|| panic!("{name}: {line}"));
            assert!(commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit()), "{name}: {line}");
            assert!(version.starts_with(|c: char| c.is_ascii_digit()), "{name}: {line}");
            pinned += 1;
        }
    }
    assert!(pinned > 5, "{pinned}");
}

#[test]
fn rights_are_given_to_single_jobs_alone() {
    for (name, text) in workflows() {
        let workflow: Value = serde_saphyr::from_str(&text).expect("YAML");
        assert_eq!(workflow["permissions"], json!({}), "{name}");
        for (job, spec) in workflow["jobs"].as_object().expect("jobs") {
            let permissions = spec["permissions"].as_object().unwrap_or_else(|| panic!("{name}: {job}"));
            assert!(!permissions.is_empty(), "{name}: {job}");
            if spec["uses"].is_string() {
                continue;
            }
            assert!(spec["timeout-minutes"].is_u64(), "{name}: {job}");
            let steps = spec["steps"].as_array().expect("steps");
            for step in steps.iter().filter(|step| step["uses"].to_string().contains("actions/checkout@")) {
                assert_eq!(step["with"]["persist-credentials"], false, "{name}: {job}");
            }
        }
    }
}

fn workflow(file: &str) -> Value {
    let all = workflows();
    let found = all.iter().find(|(name, _)| name.ends_with(file)).expect("a workflow of this name");
    serde_saphyr::from_str(&found.1).expect("YAML")
}

#[test]
fn nothing_is_released_that_the_tests_did_not_pass() {
    let release = workflow("release.yml");
    assert_eq!(release["jobs"]["test"]["uses"], "./.github/workflows/test.yml");
    assert_eq!(release["jobs"]["image"]["needs"], "test");
    assert_eq!(release["jobs"]["publish"]["needs"], "image");
    assert!(workflow("test.yml")["on"].as_object().unwrap().contains_key("workflow_call"));
}

#[test]
fn a_command_that_fails_within_a_pipe_fails_its_step() {
    for (name, text) in workflows() {
        let workflow: Value = serde_saphyr::from_str(&text).expect("YAML");
        assert_eq!(workflow["defaults"]["run"]["shell"], "bash", "{name}");
    }
}

#[test]
fn what_names_an_image_is_in_lower_case_and_its_times_are_the_commits() {
    let steps = workflow("release.yml")["jobs"]["image"]["steps"].to_string();
    assert!(steps.contains("${GITHUB_REPOSITORY,,}") && !steps.contains("ghcr.io/${{"), "{steps}");
    assert!(steps.contains("SOURCE_DATE_EPOCH=") && steps.contains("rewrite-timestamp=true"), "{steps}");
}
