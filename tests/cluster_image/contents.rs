//! What the image's archive holds, and what it says of itself.

use crate::image::{build, image};

#[test]
fn it_holds_one_program_and_licences_and_nothing_else() {
    let image = image();
    let mut names = Vec::new();
    for line in &image.files {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [mode, owner, _, _, _, name] = words[..] else { panic!("{line}") };
        assert_eq!(owner, "0/0", "{line}");
        let expected = match name {
            "squadcast-operator" => "-rwxr-xr-x",
            "licenses/" => "drwxr-xr-x",
            _ => "-rw-r--r--",
        };
        assert_eq!(mode, expected, "{line}");
        names.push(name);
    }
    assert_eq!(
        names,
        ["licenses/", "licenses/squadcast-operator", "licenses/third-party", "squadcast-operator"]
    );
    let licences = std::fs::read_to_string(image.root().join("licenses/third-party")).unwrap();
    let (list, texts) = licences.split_once("\n==== ").expect("texts");
    assert!(list.contains("Rich Felker"), "musl's");
    let crates = list.split_once("under these licences:\n\n").expect("a list").1.lines();
    let mut number = 0;
    for line in crates.filter(|line| !line.is_empty()) {
        let (name, licence) = line.split_once(" (").expect("a licence");
        // Some bring no text of Apache-2.0, which is here as the crate's own.
        assert!(texts.contains(name) || licence.contains("Apache-2.0"), "no text of {line}");
        assert!(!name.starts_with("proptest "), "what only tests use is not in the program");
        number += 1;
    }
    assert!(number > 100, "{number}");
}

#[test]
fn it_is_described_for_programs_and_people_and_runs_as_nobody() {
    let config = &image().config["config"];
    let (user, group) = config["User"].as_str().unwrap().split_once(':').unwrap();
    assert!(user.parse::<u32>().unwrap() > 0 && group.parse::<u32>().unwrap() > 0);
    assert_eq!(config["Entrypoint"], serde_json::json!(["/squadcast-operator"]));
    let labels = &config["Labels"];
    assert_eq!(labels["org.opencontainers.image.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(labels["org.opencontainers.image.licenses"], env!("CARGO_PKG_LICENSE"));
    for label in ["title", "description", "revision", "source"] {
        let text = labels[format!("org.opencontainers.image.{label}")].as_str().unwrap();
        assert!(text.len() > 5, "{label}: {text:?}");
    }
    assert_eq!(config.get("Env"), None);
    let tag = format!("squadcast-operator:{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(image().manifest["RepoTags"], serde_json::json!([tag]));
}

#[test]
fn packed_again_it_is_the_same_archive() {
    let again = image().folder.path().join("again.tar");
    build(&again);
    assert!(std::fs::read(&again).unwrap() == std::fs::read(&image().archive).unwrap());
}
