//! The chart's files agree with each other and with the crate: README, values, schema, versions. No cluster, no helm.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&file(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn values() -> Value {
    yaml("charts/squadcast-operator/values.yaml")
}

/// The rows of the README's table: a value's path and its default.
fn rows() -> BTreeMap<String, Value> {
    let text = file("charts/squadcast-operator/README.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let (path, rest) = row.split_once("` | `").unwrap_or_else(|| panic!("no row of three cells: {row}"));
        let (default, meaning) = rest.split_once("` | ").unwrap_or_else(|| panic!("no third cell: {row}"));
        assert!(meaning.trim_end_matches('|').trim().len() > 5, "{path} has no meaning");
        let default = serde_json::from_str(default).unwrap_or_else(|error| panic!("{path}: {error}"));
        (path.to_owned(), default)
    })
    .collect()
}

/// Every value that has no row of its own or above it.
fn without_row(prefix: &str, value: &Value, rows: &BTreeMap<String, Value>, missing: &mut Vec<String>) {
    for (key, value) in value.as_object().into_iter().flatten() {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        if rows.contains_key(&path) {
            continue;
        }
        match value.as_object() {
            Some(fields) if !fields.is_empty() => without_row(&path, value, rows, missing),
            _ => missing.push(path),
        }
    }
}

#[test]
fn the_readme_lists_every_value_with_its_default() {
    let (values, rows) = (values(), rows());
    for (path, default) in &rows {
        let found = values.pointer(&format!("/{}", path.replace('.', "/")));
        assert_eq!(found, Some(default), "{path}: the README has another default than values.yaml");
    }
    let mut missing = Vec::new();
    without_row("", &values, &rows, &mut missing);
    assert!(missing.is_empty(), "no row in the README: {missing:?}");
}

/// The paths of all values that a schema knows, as far as it refuses others and the README has no row.
fn known(schema: &Value, root: &Value, prefix: &str, rows: &[String], paths: &mut Vec<String>) {
    let schema = match schema["$ref"].as_str() {
        Some(name) => root.pointer(name.trim_start_matches('#')).expect("a definition"),
        None => schema,
    };
    let open = schema["additionalProperties"] != Value::Bool(false);
    if open || rows.iter().any(|row| row == prefix) {
        paths.push(prefix.to_owned());
        return;
    }
    for (key, property) in schema["properties"].as_object().expect("properties") {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        known(property, root, &path, rows, paths);
    }
}

#[test]
fn the_schema_knows_every_value_and_no_other() {
    let schema: Value = serde_json::from_str(&file("charts/squadcast-operator/values.schema.json")).unwrap();
    let mut paths = Vec::new();
    let rows: Vec<String> = rows().into_keys().collect();
    known(&schema, &schema, "", &rows, &mut paths);
    paths.retain(|path| path != "global" && path != "enabled");
    paths.sort();
    assert_eq!(paths, rows);
}

#[test]
fn the_chart_has_the_crates_version() {
    let chart = yaml("charts/squadcast-operator/Chart.yaml");
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["description"], env!("CARGO_PKG_DESCRIPTION"));
}

#[test]
fn an_image_that_is_built_without_arguments_says_its_version() {
    let version = format!("ARG VERSION={}", env!("CARGO_PKG_VERSION"));
    assert!(file("Dockerfile").lines().any(|line| line == version), "the Dockerfile has another version");
}

#[test]
fn every_version_of_the_image_that_is_named_is_the_crates() {
    let mut found = 0;
    for path in
        ["README.md", "docs/getting-started.md", "docs/operations.md", "charts/squadcast-operator/README.md"]
    {
        let text = file(path);
        for rest in text.split("squadcast-operator:").skip(1) {
            let version: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
            let version = version.trim_end_matches('.');
            if version.contains('.') {
                assert_eq!(version, env!("CARGO_PKG_VERSION"), "{path}");
                found += 1;
            }
        }
    }
    assert!(found > 0, "no version at all");
}

/// A program for the tests, by its name in a folder of its own.
fn program(folder: &Path, name: &str, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn the_consumer_of_the_sample_sends_its_header_and_has_the_token_on_no_command_line() {
    let documents: Vec<Value> = serde_saphyr::from_multiple(&file("deploy/samples/template.yaml")).unwrap();
    let container = &documents[1]["spec"]["template"]["spec"]["containers"][0];
    let script = container["args"][0].as_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("authorization"), "Bearer secret-token").unwrap();
    std::fs::write(path("users_url"), "https://api.example/v3/users").unwrap();
    program(folder.path(), "curl", "echo \"$*\" >arguments; cat >header");
    program(folder.path(), "sleep", "kill $PPID");
    let script = script.replace("/var/run/squadcast", folder.path().to_str().unwrap());
    let path_variable = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let ran = std::process::Command::new("sh").args(["-c", &script]).env("PATH", path_variable).output();
    assert_eq!(String::from_utf8(ran.unwrap().stdout).unwrap(), "Squadcast answers\n");
    let read = |name: &str| std::fs::read_to_string(path(name)).unwrap();
    assert_eq!(read("header"), "Authorization: Bearer secret-token");
    let arguments = read("arguments");
    assert!(
        arguments.contains("https://api.example/v3/users") && !arguments.contains("secret"),
        "{arguments}"
    );
    for insecure in ["-k", "--insecure"] {
        assert!(!arguments.split_whitespace().any(|argument| argument == insecure), "{arguments}");
    }
}

#[test]
fn the_charts_definition_is_the_crates() {
    assert!(
        file("charts/squadcast-operator/files/squadcastcredentials.yaml")
            == file("crds/squadcastcredentials.yaml"),
        "run make crd"
    );
}
