//! The alerts and the dashboard ask for what the table of metrics says that there is, and lead to the runbook.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::runbook::anchors;
use crate::tools::{said, shipped, tool, yaml};

const PROMTOOL: &str = "prometheus/usr/bin/promtool";
const ALERTS: &str = "deploy/prometheus/alerts.yaml";
const DASHBOARD: &str = "deploy/grafana/hookgate.json";
/// What Prometheus itself says of whom it asked.
const FROM_PROMETHEUS: [&str; 3] = ["job", "instance", "namespace"];

/// Every series of the table with its labels, under each name that it can be asked for.
fn table() -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::new();
    for line in shipped("docs/metrics.md").lines().filter(|line| line.starts_with("| `hookgate_")) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, ..] = cells.as_slice() else { panic!("{line}") };
        let (name, labels) = (name.trim_matches('`'), labels.split(", ").map(str::to_owned));
        let labels: BTreeSet<String> = labels.filter(|label| !label.is_empty()).collect();
        if *kind == "histogram" {
            found.insert(format!("{name}_sum"), labels.clone());
            found.insert(format!("{name}_count"), labels.clone());
            let with_bound = labels.into_iter().chain(["le".to_owned()]).collect();
            found.insert(format!("{name}_bucket"), with_bound);
        } else {
            assert_eq!(*kind == "counter", name.ends_with("_total"), "{name}");
            found.insert(name.to_owned(), labels);
        }
    }
    found
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The texts in quotes taken out, which can hold anything.
fn unquoted(text: &str) -> String {
    text.split('"').step_by(2).collect()
}

/// The series in an expression, each with the labels that its braces ask for.
fn series(expression: &str) -> Vec<(String, BTreeSet<String>)> {
    let bare = unquoted(expression);
    let mut found = Vec::new();
    for (at, _) in bare.match_indices("hookgate_") {
        let name: String = bare[at..].chars().take_while(|c| is_name(*c)).collect();
        let rest = &bare[at + name.len()..];
        let braces = rest.strip_prefix('{').and_then(|rest| rest.split('}').next()).unwrap_or("");
        let labels =
            braces.split(',').map(|matcher| matcher.chars().take_while(|c| is_name(*c)).collect());
        found.push((name, labels.filter(|label: &String| !label.is_empty()).collect()));
    }
    found
}

/// The labels that an expression groups and joins by.
fn grouped_by(expression: &str) -> BTreeSet<String> {
    let bare = unquoted(expression);
    let mut found = BTreeSet::new();
    for word in ["by (", "on (", "without (", "ignoring (", "group_left (", "group_right ("] {
        for (at, _) in bare.match_indices(word) {
            let inside = bare[at + word.len()..].split(')').next().unwrap();
            found.extend(inside.split(',').map(|label| label.trim().to_owned()));
        }
    }
    found.remove("");
    found
}

/// What of an expression the table does not know.
fn unknown(expression: &str) -> Vec<String> {
    let table = table();
    let of_prometheus: BTreeSet<String> =
        FROM_PROMETHEUS.iter().map(|&label| label.to_owned()).collect();
    let (mut found, mut there) = (Vec::new(), of_prometheus.clone());
    for (name, asked) in series(expression) {
        let Some(labels) = table.get(&name) else {
            found.push(name);
            continue;
        };
        there.extend(labels.iter().cloned());
        let missing = asked
            .iter()
            .filter(|label| !labels.contains(*label) && !of_prometheus.contains(*label));
        found.extend(missing.map(|label| format!("{name}{{{label}}}")));
    }
    found.extend(grouped_by(expression).difference(&there).map(|label| format!("by {label}")));
    found
}

#[test]
fn what_the_table_does_not_know_is_found() {
    let good = r#"sum by (namespace, reason) (rate(hookgate_refusals_total{job="hookgate",reason=~"a{b}"}[5m]))"#;
    assert_eq!(unknown(good), [""; 0]);
    for (bad, found) in [
        ("hookgate_refusal_total > 0", "hookgate_refusal_total"),
        ("hookgate_refusals_total{cause=\"x\"}", "hookgate_refusals_total{cause}"),
        ("sum by (client) (hookgate_refusals_total)", "by client"),
        ("hookgate_added_seconds > 1", "hookgate_added_seconds"),
    ] {
        assert_eq!(unknown(bad), [found], "{bad}");
    }
    assert_eq!(unknown("sum by (le) (hookgate_added_seconds_bucket{le=\"1\"})"), [""; 0]);
}

fn rules() -> Vec<Value> {
    let read = yaml(&shipped(ALERTS));
    let groups = read.first().unwrap()["groups"].as_array().unwrap().clone();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

#[test]
fn prometheus_takes_the_alerts_and_each_fires_when_it_should() {
    said(tool(PROMTOOL).args(["check", "rules", ALERTS]));
    said(tool(PROMTOOL).args(["test", "rules", "deploy/prometheus/alerts.test.yaml"]));
    let fired = shipped("deploy/prometheus/alerts.test.yaml");
    let names: Vec<_> =
        rules().iter().map(|rule| rule["alert"].as_str().unwrap().to_owned()).collect();
    for name in &names {
        assert!(fired.contains(&format!("{{alertname=\"{name}\"}}")), "no test fires {name}");
    }
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
}

#[test]
fn alerts_ask_for_what_there_is_and_lead_to_what_to_do() {
    let anchors = anchors();
    for rule in rules() {
        let name = &rule["alert"];
        assert_eq!(unknown(rule["expr"].as_str().unwrap()), [""; 0], "{name}");
        let severity = rule["labels"]["severity"].as_str().unwrap();
        assert!(["critical", "warning"].contains(&severity), "{name}: {severity}");
        let told = |what: &str| {
            rule["annotations"][what].as_str().unwrap_or_else(|| panic!("{name}: no {what}"))
        };
        assert!(!told("summary").ends_with('.') && told("description").ends_with('.'), "{name}");
        let anchor = told("runbook_url").strip_prefix("docs/runbook.md#").unwrap();
        assert!(anchors.contains(anchor), "{name}: no {anchor} in the runbook");
    }
}

/// Each chart's title, and what it asks.
fn charts() -> Vec<(String, Vec<String>)> {
    let dashboard: Value = serde_json::from_str(&shipped(DASHBOARD)).unwrap();
    let panels =
        dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row");
    panels
        .map(|panel| {
            let asked = panel["targets"].as_array().unwrap().iter();
            let asked = asked.map(|target| target["expr"].as_str().unwrap().to_owned()).collect();
            (panel["title"].as_str().unwrap().to_owned(), asked)
        })
        .collect()
}

#[test]
fn the_dashboard_asks_for_what_there_is() {
    let charts = charts();
    assert!(charts.len() > 20, "{charts:?}");
    for (title, asked) in &charts {
        assert!(!asked.is_empty(), "{title}");
        for expression in asked {
            assert_eq!(unknown(expression), [""; 0], "{title}: {expression}");
        }
    }
}

#[test]
fn prometheus_can_read_what_the_dashboard_asks() {
    let rules: Vec<Value> = charts()
        .into_iter()
        .flat_map(|(_, asked)| asked)
        .enumerate()
        .map(|(number, expression)| {
            let expr = expression.replace("$__rate_interval", "5m").replace("$instance", ".+");
            serde_json::json!({"record": format!("chart:{number}"), "expr": expr})
        })
        .collect();
    // JSON is YAML.
    let file = serde_json::json!({"groups": [{"name": "charts", "rules": rules}]});
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("charts.yaml");
    std::fs::write(&path, file.to_string()).unwrap();
    said(tool(PROMTOOL).args(["check", "rules"]).arg(&path));
}

#[test]
fn no_two_charts_lie_on_each_other() {
    let dashboard: Value = serde_json::from_str(&shipped(DASHBOARD)).unwrap();
    let mut taken = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64()), "{}", panel["title"]);
        let place = |side: &str| panel["gridPos"][side].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24, "{}", panel["title"]);
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(taken.insert((x, y)), "{}", panel["title"]);
            }
        }
    }
}
