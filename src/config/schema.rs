//! The configuration as a JSON Schema (2020-12): for editors, and for saying what a key might have been.

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;

use crate::problem::{KeyPath, Segment};

/// The schema of the whole file, without references: a key's part is found by walking down.
pub(crate) fn of<T: JsonSchema>() -> Schema {
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

/// What the schema says of the key of a table.
pub(crate) fn below<'a>(schema: &'a Value, key: &str) -> Option<&'a Value> {
    schema.get("properties")?.get(key)
}

/// What the schema says of the entries of a list.
pub(crate) fn entry(schema: &Value) -> Option<&Value> {
    schema.get("items")
}

/// What the schema says of the key at the end of a path.
pub(crate) fn at<'a>(schema: &'a Value, path: &KeyPath) -> Option<&'a Value> {
    path.0.iter().try_fold(schema, |schema, segment| match segment {
        Segment::Key(key) => below(schema, key),
        Segment::Index(_) | Segment::Entry(_) => entry(schema),
    })
}

/// The keys of a table.
pub(crate) fn keys(schema: &Value) -> Vec<&str> {
    let keys = schema.get("properties").and_then(Value::as_object);
    keys.into_iter().flat_map(|keys| keys.keys().map(String::as_str)).collect()
}

/// Whether a text may stand there.
pub(crate) fn takes_text(schema: &Value) -> bool {
    let one_of = |name| {
        schema.get(name).and_then(Value::as_array).is_some_and(|any| any.iter().any(takes_text))
    };
    schema.get("type").is_some_and(|kind| kind == "string") || one_of("anyOf") || one_of("oneOf")
}

/// Whether the schema leaves open what may stand there.
pub(crate) fn takes_anything(schema: &Value) -> bool {
    !["type", "anyOf", "oneOf", "enum", "const"].iter().any(|word| schema.get(word).is_some())
}

/// Whether it is a list of tables: `[[client]]`.
pub(crate) fn is_list_of_tables(schema: &Value) -> bool {
    entry(schema).is_some_and(|entry| entry.get("properties").is_some())
}

/// A value that would do, for what comes behind a value that does not.
pub(crate) fn example(schema: &Value) -> Option<&Value> {
    schema.get("examples")?.get(0)
}

/// The tables that have this key, as `listener` or `upstream.breaker`.
pub(crate) fn tables_with(schema: &Value, key: &str) -> Vec<String> {
    let mut found = Vec::new();
    search(schema, &KeyPath::default(), key, &mut found);
    found
}

fn search(schema: &Value, path: &KeyPath, key: &str, found: &mut Vec<String>) {
    let table = entry(schema).unwrap_or(schema);
    if below(table, key).is_some() {
        found.push(path.to_string());
    }
    for inside in keys(table) {
        if let Some(schema) = below(table, inside) {
            search(schema, &path.clone().key(inside), key, found);
        }
    }
}
