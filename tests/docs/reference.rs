//! The tables of `docs/reference.md` are those of the definition. With `WRITE_DOCS` set, this writes them.

use std::fmt::Write;

use serde_json::Value;

use crate::{file, root};

const PAGE: &str = "docs/reference.md";
const BEGIN: &str = "<!-- begin: written by make pages -->\n";
const END: &str = "<!-- end: written by make pages -->\n";

/// One line of a table.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// What a field may hold, in a word or two.
fn kind(schema: &Value) -> String {
    let kind = schema["type"].as_str().unwrap_or("any");
    let values = schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let values: Vec<_> = values.map(|value| format!("`{value}`")).collect();
    match (kind, schema["format"].as_str()) {
        _ if !values.is_empty() => values.join(", "),
        (_, Some("date-time")) => "time".to_owned(),
        ("object", _) if schema["additionalProperties"].is_object() => "map of text".to_owned(),
        ("array", _) => "list".to_owned(),
        ("integer", _) => match (schema["minimum"].as_f64(), schema["maximum"].as_f64()) {
            (Some(least), Some(most)) => format!("integer, {least} to {most}"),
            _ => "integer".to_owned(),
        },
        ("string", _) => "text".to_owned(),
        ("boolean", _) => "`true`, `false`".to_owned(),
        (other, _) => other.to_owned(),
    }
}

/// A row for each field below this one.
fn fields(schema: &Value, prefix: &str, table: &mut String) {
    let required: Vec<_> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{prefix}{name}");
        let default = match &field["default"] {
            Value::Null if required.contains(&name.as_str()) => "required".to_owned(),
            Value::Null => String::new(),
            Value::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        };
        let meaning = cell(field["description"].as_str().unwrap_or_default());
        assert!(!meaning.is_empty(), "{path} has no description");
        let _ = writeln!(table, "| `{path}` | {} | {default} | {meaning} |", kind(field));
        fields(field, &format!("{path}."), table);
        fields(&field["items"], &format!("{path}[]."), table);
    }
}

/// What the API server refuses, in its own words.
fn refusals(schema: &Value, said: &mut Vec<String>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        said.push(cell(rule["message"].as_str().expect("a message")));
    }
    for field in schema["properties"].as_object().into_iter().flatten().map(|(_, field)| field) {
        refusals(field, said);
        refusals(&field["items"], said);
    }
}

fn tables(definition: &Value) -> String {
    let version = &definition["spec"]["versions"][0];
    let schema = &version["schema"]["openAPIV3Schema"];
    let mut text = String::new();
    for part in ["spec", "status"] {
        let _ = write!(
            text,
            "\n## {part}\n\n{}\n\n",
            cell(schema["properties"][part]["description"].as_str().unwrap())
        );
        text.push_str("| field | type | default | meaning |\n|---|---|---|---|\n");
        fields(&schema["properties"][part], &format!("{part}."), &mut text);
    }
    let mut said = Vec::new();
    refusals(schema, &mut said);
    refusals(&schema["properties"]["metadata"], &mut said);
    text.push_str("\n## What the API server refuses\n\n");
    for message in said {
        let _ = writeln!(text, "- {message}");
    }
    text.push_str("\n## Columns of kubectl get\n\n| column | shows | value |\n|---|---|---|\n");
    for column in version["additionalPrinterColumns"].as_array().expect("columns") {
        let wide = if column["priority"].as_i64().is_some_and(|priority| priority > 0) {
            " (`-o wide`)"
        } else {
            ""
        };
        let description = column["description"].as_str().unwrap_or("time since it was created");
        let name = column["name"].as_str().unwrap().to_uppercase();
        let path = cell(column["jsonPath"].as_str().unwrap());
        let _ = writeln!(text, "| `{name}`{wide} | {} | `{path}` |", cell(description));
    }
    let selectable = version["selectableFields"].as_array().expect("selectable fields").iter();
    let selectable: Vec<_> = selectable
        .map(|field| format!("`{}`", field["jsonPath"].as_str().unwrap().trim_start_matches('.')))
        .collect();
    let _ = writeln!(text, "\n`--field-selector` knows {}.\n", selectable.join(", "));
    text
}

#[test]
fn the_reference_is_what_the_definition_says() {
    let definition: Value = serde_saphyr::from_str(&file("crds/squadcastcredentials.yaml")).unwrap();
    let page = file(PAGE);
    let (head, rest) = page.split_once(BEGIN).expect("the beginning of what is written");
    let (_, tail) = rest.split_once(END).expect("the end of what is written");
    let wanted = format!("{head}{BEGIN}{}{END}{tail}", tables(&definition));
    if std::env::var_os("WRITE_DOCS").is_some_and(|write| !write.is_empty()) {
        std::fs::write(root().join(PAGE), &wanted).unwrap();
    } else {
        assert!(
            page == wanted,
            "{PAGE} is not what the definition says: run make pages, and look at the change"
        );
    }
}
