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
fn the_charts_definition_is_the_crates() {
    assert!(
        file("charts/squadcast-operator/files/squadcastcredentials.yaml")
            == file("crds/squadcastcredentials.yaml"),
        "run make crd"
    );
}
