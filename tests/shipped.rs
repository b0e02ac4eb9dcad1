//! What is shipped beside the program says what the program does: the configuration files, the README's
//! fragments and the tables in `docs`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a failing test is the report")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hookgate::config::Config;
use hookgate::gateway::service;
use serde_json::Value;

fn shipped(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn config(text: &str) -> Config {
    Config::from_toml(text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// What has to be filled in, and nothing else.
const LEAST: &str = r#"
public_url = "https://cds.example.org"
[listener]
certificate_file = "/etc/hookgate/tls.crt"
key_file = "/etc/hookgate/tls.key"
[[client]]
id = "my-ehr"
issuer = "https://ehr.example.org/fhir"
jwks_url = "https://ehr.example.org/jwks"
[[upstream]]
id = "legacy"
url = "http://127.0.0.1:8080"
"#;

#[test]
fn the_whole_file_says_what_happens_without_it() {
    let whole = config(&shipped("config/hookgate.toml"));
    let mut least = config(LEAST);
    least.service = vec![service::Settings::any()];
    // Table by table, so that a failure is short.
    let tables = |config: &Config| {
        let all = serde_json::to_value(config).unwrap();
        all.as_object().unwrap().clone().into_iter().collect::<BTreeMap<_, _>>()
    };
    for ((table, written), (_, default)) in tables(&whole).iter().zip(&tables(&least)) {
        assert_eq!(written, default, "{table}");
    }
    assert_eq!(whole, least);
}

#[test]
fn the_least_file_is_the_least() {
    assert_eq!(config(&shipped("config/minimal.toml")), config(LEAST));
    for line in LEAST.lines().filter(|line| line.contains(" = ")) {
        let config = Config::from_toml(&LEAST.replace(line, ""));
        let missed_later = line.contains("_file") || line.contains("jwks_url");
        assert_eq!(config.is_ok(), missed_later, "{line}");
    }
}

/// The JSON Schema that `hookgate schema` prints.
fn schema() -> Value {
    Config::schema()
}

/// Every key of the schema, as `table.key`, with what the schema says about it. A table counts by its keys where the
/// file has it under a header of its own, and as one key where it is written inline.
fn keys_of_schema<'a>(
    schema: &'a Value,
    table: &str,
    headers: &BTreeSet<&str>,
    into: &mut BTreeMap<String, &'a Value>,
) {
    let below = schema.get("items").unwrap_or(schema);
    for (key, inside) in below["properties"].as_object().into_iter().flatten() {
        let name = join((table, key));
        if headers.contains(name.as_str()) {
            keys_of_schema(inside, &name, headers, into);
        } else {
            into.insert(name, inside);
        }
    }
}

/// Every key that the code knows, as `table.key`.
fn known_keys(text: &str) -> BTreeSet<String> {
    let headers = text.lines().filter(|line| line.starts_with('['));
    let headers = headers.map(|line| line.trim_matches(['[', ']'])).collect();
    let (schema, mut keys) = (schema(), BTreeMap::new());
    keys_of_schema(&schema, "", &headers, &mut keys);
    keys.into_keys().collect()
}

/// Every part of the schema that stands for a key, by its path.
fn described(schema: &Value, path: &str, into: &mut Vec<(String, Option<String>)>) {
    let below = schema.get("items").unwrap_or(schema);
    for (key, inside) in below["properties"].as_object().into_iter().flatten() {
        let name = join((path, key));
        let text = inside["description"].as_str().map(str::to_owned);
        into.push((name.clone(), text));
        described(inside, &name, into);
    }
}

#[test]
fn every_key_of_the_schema_says_what_it_is() {
    let mut keys = Vec::new();
    described(&schema(), "", &mut keys);
    assert!(keys.len() > 100, "{}", keys.len());
    for (key, text) in keys {
        assert!(text.is_some_and(|text| text.len() > 8), "{key} has no doc comment");
    }
}

#[test]
fn the_shipped_files_keep_to_the_schema() {
    let validator = jsonschema::draft202012::new(&schema()).unwrap();
    for path in ["config/hookgate.toml", "config/minimal.toml"] {
        let document: Value = toml::from_str(&shipped(path)).unwrap();
        let faults: Vec<_> = validator
            .iter_errors(&document)
            .map(|e| format!("{}: {e}", e.instance_path()))
            .collect();
        assert_eq!(faults, [""; 0], "{path}");
    }
}

fn join((table, key): (&str, &str)) -> String {
    if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") }
}

/// One key of the file, also one that is commented out.
struct Written {
    key: String,
    commented: bool,
    /// Whether the line before says something about it.
    explained: bool,
}

fn written_keys(text: &str) -> Vec<Written> {
    let (mut table, mut before, mut found) = ("", "", Vec::new());
    for line in text.lines() {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        let name = bare.split_once(" = ").map(|(name, _)| name).filter(|name| {
            !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_lowercase() || b"_0123456789".contains(&b))
        });
        if line.starts_with('[') {
            table = line.trim_matches(['[', ']']);
        } else if let Some(name) = name {
            found.push(Written {
                key: join((table, name)),
                commented: line.starts_with('#'),
                explained: before.starts_with("# "),
            });
            // A key that is commented out explains nothing.
            before = "";
            continue;
        }
        before = line;
    }
    found
}

#[test]
fn every_key_that_the_code_knows_stands_in_the_file_and_no_other() {
    let text = shipped("config/hookgate.toml");
    let written = written_keys(&text);
    let keys: BTreeSet<String> = written.iter().map(|written| written.key.clone()).collect();
    assert_eq!(keys.len(), written.len(), "a key stands there twice");
    let known = known_keys(&text);
    assert_eq!(known.difference(&keys).collect::<Vec<_>>(), [""; 0], "missing in the file");
    assert_eq!(keys.difference(&known).collect::<Vec<_>>(), [""; 0], "unknown to the code");
    for Written { key, explained, .. } in &written {
        assert!(explained, "{key} has no comment before it");
    }
}

#[test]
fn what_is_commented_out_can_be_commented_in() {
    let text = shipped("config/hookgate.toml");
    let commented: Vec<String> =
        written_keys(&text).into_iter().filter(|w| w.commented).map(|w| w.key).collect();
    assert!(commented.len() > 8, "{commented:?}");
    let all: String = text
        .lines()
        .map(|line| {
            let bare = line.strip_prefix("# ").unwrap_or(line);
            let key = bare.split_once(" = ").map_or("", |(name, _)| name);
            let is_key = commented.iter().any(|c| c.rsplit('.').next() == Some(key));
            format!("{}\n", if is_key { bare } else { line })
        })
        .collect();
    let (before, after) = (config(&text), config(&all));
    assert_ne!(before.client, after.client);
    assert_ne!(before.upstream, after.upstream);
    assert_ne!(before.service, after.service);
    assert_ne!(before.keyring, after.keyring);
}

#[test]
fn the_readme_shows_configurations_that_load() {
    let readme = shipped("README.md");
    let mut shown = 0;
    for part in readme.split("```toml").skip(1) {
        let fragment = part.split("```").next().unwrap();
        let indent = fragment.lines().nth(1).map_or(0, |line| line.len() - line.trim_start().len());
        let text: String = fragment
            .lines()
            .map(|line| format!("{}\n", line.get(indent..).unwrap_or("")))
            .collect();
        // A fragment with an upstream stands in place of the least file's own.
        let (around, _own) = LEAST.split_once("[[upstream]]").unwrap();
        let base = if text.contains("[[upstream]]") { around } else { LEAST };
        let whole = if text.contains("public_url") { text } else { format!("{base}\n{text}") };
        config(&whole);
        shown += 1;
    }
    assert!(shown > 0);
}

#[test]
fn every_code_of_a_problem_stands_in_the_table_and_no_other() {
    let listed: Vec<String> =
        rows("docs/configuration.md").into_iter().filter_map(|row| row.first().cloned()).collect();
    let known: Vec<&str> = hookgate::problem::Code::ALL.iter().map(|code| code.word()).collect();
    assert_eq!(listed, known);
}

/// What cannot be filled in from the schema's own words would be left out when a file is read on behind it.
#[test]
fn every_key_that_must_be_there_has_an_example() {
    fn look(schema: &Value, path: &str, found: &mut Vec<String>) {
        let below = schema.get("items").unwrap_or(schema);
        for key in below["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if below["properties"][key]["examples"][0].is_null() {
                found.push(join((path, key)));
            }
        }
        for (key, inside) in below["properties"].as_object().into_iter().flatten() {
            look(inside, &join((path, key)), found);
        }
    }
    let mut without = Vec::new();
    look(&schema(), "", &mut without);
    assert_eq!(without, [""; 0]);
}

/// A text with this in place of `=`'s right side, or this more, and what is wrong with it.
#[test]
fn what_the_program_refuses_for_its_form_the_schema_refuses_too() {
    let validator = jsonschema::draft202012::new(&schema()).unwrap();
    let fits = |text: &str| validator.is_valid(&toml::from_str::<Value>(text).unwrap());
    assert!(fits(LEAST));
    let with = |lines: &str| format!("{LEAST}{lines}\n");
    let client = |line: &str| LEAST.replace("[[upstream]]", &format!("{line}\n[[upstream]]"));
    let listener = |line: &str| LEAST.replace("[listener]", &format!("[listener]\n{line}"));
    for wrong in [
        LEAST.replace("public_url", "publicUrl"),
        LEAST.replace("https://cds.example.org", "ftp://cds.example.org"),
        LEAST.replace("https://cds.example.org", "https://cds.example.org?a"),
        LEAST.replace("issuer", "isuer"),
        LEAST.replace("\"my-ehr\"", "\"my ehr\""),
        LEAST.replace("[[upstream]]", "[upstream]"),
        format!("replicas = 0\n{LEAST}"),
        format!("trusted_proxies = \"10.0.0.1\"\n{LEAST}"),
        listener("idleTimeout = \"1s\""),
        listener("idle_timeout = 60"),
        listener("idle_timeout = \"60\""),
        listener("idle_timeout = \"-5s\""),
        listener("http2 = \"yes\""),
        listener("max_connections = 0"),
        listener("max_connections = 1.5"),
        listener("max_headers = 256"),
        listener("max_header_bytes = -1"),
        listener("max_header_bytes = \"large\""),
        client("algorithms = [\"HS256\"]"),
        client("algorithms = \"ES384\""),
        client("replay = \"maybe\""),
        client("fhir_servers = [\"x\"]"),
        client("fhir_server_check = \"strict\""),
        client("when_store_down = true"),
        client("limit = { all = 1 }"),
        client("limit = { client = { burst = -1 } }"),
        client("tenants = [\"\"]"),
        with("authorization = \"digest\""),
        with("health = { interval = \"5s\" }"),
        with("[upstream.breaker]\nfailure = 1"),
        with("[[service]]\nid = \"a/b\""),
        with("[[service]]\nupstream = \"legacy\""),
        with("[[service]]\nid = \"a\"\n[service.links]\nlife = \"1h\""),
        with("[[service]]\nid = \"a\"\n[service.cards]\nallowed_origins = [\"https://a/b\"]"),
        with("[log]\nformat = \"xml\""),
        with("[state]\nbackend = \"tape\""),
        with("[state.redis]\ntopology = \"ring\""),
        with("[limits]\naddress = 5"),
        with("[limits]\nmode = \"on\""),
        with("[body]\nmax_size = \"8 MMB\"\nmax_sise = 1"),
    ] {
        assert!(Config::from_toml(&wrong).is_err(), "{wrong}");
        assert!(!fits(&wrong), "{wrong}");
    }
}

/// The cells of every row of a table in Markdown, without the head.
fn rows(path: &str) -> Vec<Vec<String>> {
    let text = shipped(path);
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        row.trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().trim_matches('`').to_owned())
            .collect()
    })
    .collect()
}

/// The program's part of a source file.
fn source(path: &str) -> String {
    shipped(path).split("#[cfg(test)]").next().unwrap().to_owned()
}

/// The texts in quotes that follow `opening`.
fn quoted_after(text: &str, opening: &str) -> Vec<String> {
    let parts = text.split(opening).skip(1);
    parts.filter_map(|part| part.split('"').next()).map(str::to_owned).collect()
}

fn sources_below(folder: &Path, into: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources_below(&path, into);
        } else if path.file_name().is_some_and(|name| name != "tests.rs") {
            into.push(source(path.to_str().unwrap()));
        }
    }
}

/// Every reason that a log line can give.
fn reasons_in_the_source() -> BTreeSet<String> {
    let refusal = source("src/gateway/refusal.rs");
    let mut found = BTreeSet::new();
    for function in refusal.split("fn ").skip(1) {
        let (name, body) = function.split_once('(').unwrap();
        if name == "reason" || name.ends_with("_reason") {
            let body = body.split_once('{').unwrap().1;
            let body = body.split("\n///").next().unwrap();
            found.extend(body.split('"').skip(1).step_by(2).map(str::to_owned));
        }
    }
    let mut all = Vec::new();
    sources_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/gateway"), &mut all);
    for text in &all {
        found.extend(quoted_after(text, "RouteError::Malformed(\""));
        found.extend(quoted_after(text, "record.reason = Some(\""));
        found.extend(quoted_after(text, "observed.push(\""));
    }
    found
}

#[test]
fn every_reason_stands_in_the_table_and_no_other() {
    let table: Vec<String> =
        rows("docs/reasons.md").iter().filter_map(|row| row.first().cloned()).collect();
    let listed: BTreeSet<String> = table.iter().cloned().collect();
    assert_eq!(listed.len(), table.len(), "a reason stands there twice");
    let known = reasons_in_the_source();
    assert!(known.len() > 80, "{known:?}");
    assert_eq!(known.difference(&listed).collect::<Vec<_>>(), [""; 0], "missing in the table");
    assert_eq!(listed.difference(&known).collect::<Vec<_>>(), [""; 0], "unknown to the code");
    for reason in &known {
        let stable =
            reason.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        assert!(stable, "{reason:?} is no word");
    }
}

#[test]
fn every_status_and_code_stands_in_the_table_and_no_other() {
    let text = source("src/gateway/refusal.rs") + &source("src/gateway/forward.rs");
    let mut known = BTreeSet::new();
    for part in text.split("StatusCode::").skip(1) {
        let Some((status, rest)) = part.split_once(',') else { continue };
        let code = rest.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next());
        known.extend(code.map(|code| (number(status), code.to_owned())));
    }
    let listed: BTreeSet<(String, String)> = rows("docs/reasons.md")
        .into_iter()
        .map(|row| (row.get(1).unwrap().clone(), row.get(2).unwrap().clone()))
        // Not refused, or as the service said.
        .filter(|(status, _)| status.parse::<u16>().is_ok())
        .collect();
    assert_eq!(known, listed);
}

fn number(status: &str) -> String {
    let known = (100..600).filter_map(|number| http::StatusCode::from_u16(number).ok());
    let mut named = known.filter(|known| {
        let name = known.canonical_reason().unwrap_or_default().to_ascii_uppercase();
        name.replace([' ', '-'], "_") == status
    });
    named.next().unwrap_or_else(|| panic!("{status}")).as_u16().to_string()
}

#[test]
fn every_picture_that_is_shown_is_there_and_no_other() {
    let mut shown = BTreeSet::new();
    for page in ["README.md", "docs/status-page.md"] {
        let text = shipped(page);
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        shown.extend(
            links.filter_map(|link| link.rsplit_once("screens/")).map(|(_, name)| name.to_owned()),
        );
    }
    assert!(shown.len() > 8, "{shown:?}");
    let mut there = BTreeSet::new();
    for entry in
        std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/screens")).unwrap()
    {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        assert!(entry.metadata().unwrap().len() < 150_000, "{name} is large");
        there.insert(name);
    }
    assert_eq!(shown, there);
}
