//! The configuration as a JSON Schema (2020-12): for editors, and for saying what a key might have been.

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;

/// The schema of the whole file, without references: a key's part is found by walking down.
pub fn of<T: JsonSchema>() -> Schema {
    let mut settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.transforms.push(Box::new(RecursiveTransform(without_null)));
    settings.transforms.push(Box::new(RecursiveTransform(in_one_line)));
    let mut schema = SchemaGenerator::new(settings).into_root_schema_for::<T>();
    schema.insert("title".to_owned(), "hookgate.toml".into());
    schema
}

/// TOML has no null: a key that may be left out is left out.
fn without_null(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    if object.get("default").is_some_and(Value::is_null) {
        object.remove("default");
    }
    let is_null =
        |value: &Value| *value == "null" || value.get("type").is_some_and(|t| t == "null");
    if let Some(Value::Array(kinds)) = object.get_mut("type") {
        kinds.retain(|kind| !is_null(kind));
        if let [only] = kinds.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(kinds)) = object.get_mut("enum") {
        kinds.retain(|kind| !kind.is_null());
    }
    if let Some(Value::Array(any)) = object.get_mut("anyOf") {
        any.retain(|each| !is_null(each));
        if let [Value::Object(only)] = any.as_slice() {
            let only = only.clone();
            object.remove("anyOf");
            // What the key itself says goes before what its type says.
            for (key, value) in only {
                object.entry(key).or_insert(value);
            }
        }
    }
}

/// Where a doc comment's lines end means nothing.
fn in_one_line(schema: &mut Schema) {
    let text = schema.get("description").and_then(Value::as_str).map(|text| {
        let paragraphs = text.split("\n\n").map(|paragraph| paragraph.replace('\n', " "));
        paragraphs.collect::<Vec<_>>().join("\n\n")
    });
    if let Some(text) = text {
        schema.insert("description".to_owned(), text.into());
    }
}
