//! The examples in YAML that people copy: they parse, name fields that there are, and their templates compile.

use std::collections::BTreeMap;

use serde_json::Value;
use squadcast_operator::secret::render;

use crate::file;
use crate::links::pages;

/// The blocks of YAML of a page, without the indentation that all of their lines share.
fn blocks(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() != "```yaml" {
            continue;
        }
        let block: Vec<_> = lines.by_ref().take_while(|line| line.trim() != "```").collect();
        let indented =
            block.iter().filter(|line| !line.trim().is_empty()).map(|l| l.len() - l.trim_start().len());
        let indentation = indented.min().unwrap_or(0);
        found.push(
            block.iter().map(|line| line.get(indentation..).unwrap_or("")).collect::<Vec<_>>().join("\n"),
        );
    }
    found
}

/// Fields of an example that the schema does not have.
fn unknown(example: &Value, schema: &Value, path: &str, found: &mut Vec<String>) {
    match example {
        Value::Array(items) => items.iter().for_each(|item| unknown(item, &schema["items"], path, found)),
        Value::Object(fields) if schema["properties"].is_object() => {
            for (name, value) in fields {
                let path = format!("{path}.{name}");
                match &schema["properties"][name] {
                    Value::Null => found.push(path),
                    field => unknown(value, field, &path, found),
                }
            }
        }
        _ => {}
    }
}

#[test]
fn every_example_parses_and_its_fields_and_templates_exist() {
    let definition: Value = serde_saphyr::from_str(&file("crds/squadcastcredentials.yaml")).unwrap();
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let (mut examples, mut templates) = (0, 0);
    for page in pages() {
        for block in blocks(&file(&page)) {
            let parsed: Result<Vec<Value>, _> = serde_saphyr::from_multiple(&block);
            for object in parsed.unwrap_or_else(|error| panic!("{page}: {error}:\n{block}")) {
                let ours = ["rolloutRestartTargets", "target", "refreshTokenSecretRef"];
                let whole = object["kind"] == "SquadcastCredential";
                if whole || ours.iter().any(|field| object["spec"][field] != Value::Null) {
                    let mut found = Vec::new();
                    unknown(&object["spec"], schema, "spec", &mut found);
                    assert!(found.is_empty(), "{page}: no such field: {found:?}");
                    examples += 1;
                }
                let template = [&object["spec"]["target"]["template"], &object["template"]];
                for template in template.into_iter().filter(|template| template.is_object()) {
                    let template: BTreeMap<String, String> =
                        serde_json::from_value(template.clone()).unwrap();
                    let checked = render::check(Some(&template));
                    checked.unwrap_or_else(|error| panic!("{page}: {error}"));
                    templates += 1;
                }
            }
        }
    }
    assert!(examples > 5 && templates > 3, "{examples} examples, {templates} templates");
}
