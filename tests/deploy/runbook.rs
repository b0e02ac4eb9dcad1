//! The runbook: that what it tells people to type and to look for exists.

use std::collections::BTreeSet;
use std::process::Command;

use crate::tools::{both, root, shipped};

const RUNBOOK: &str = "docs/runbook.md";

/// What its headings are linked by: lower case, without punctuation, a hyphen for each space.
pub(crate) fn anchors() -> BTreeSet<String> {
    let text = shipped(RUNBOOK);
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|heading| {
            let heading = heading.trim_start_matches('#').trim().to_lowercase();
            let kept =
                heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.collect::<String>().replace(' ', "-")
        })
        .collect()
}

/// The texts in code, in line and in blocks.
fn code(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for (number, part) in text.split("```").enumerate() {
        if number % 2 == 1 {
            // The first line names the language.
            found.extend(part.lines().skip(1).map(|line| line.trim().to_owned()));
        } else {
            found.extend(part.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    found
}

#[test]
fn its_commands_are_the_programs() {
    let text = shipped(RUNBOOK);
    let mut seen = BTreeSet::new();
    for line in code(&text) {
        let Some((_, rest)) = line.split_once("hookgate ").filter(|(before, _)| {
            before.is_empty()
                || before.ends_with("$ ")
                || before.ends_with("sudo ")
                || before.ends_with("| ")
                || before.ends_with("-- ")
        }) else {
            continue;
        };
        let words: Vec<&str> = rest.split_whitespace().collect();
        let Some(first) = words.first() else { continue };
        let subcommand = words.get(1).filter(|_| ["keys", "explain"].contains(first));
        let options = words
            .iter()
            .filter(|word| word.starts_with("--"))
            .map(|word| word.split('=').next().unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_hookgate"));
        let output = command.arg(first).args(subcommand).arg("--help").output().unwrap();
        let help = both(&output);
        assert!(output.status.success(), "{line}\n{help}");
        for option in options {
            assert!(help.contains(option), "{line}: no {option}\n{help}");
        }
        seen.insert((*first).to_owned());
    }
    for command in ["check", "explain", "keys"] {
        assert!(seen.contains(command), "{seen:?}");
    }
}

#[test]
fn its_metrics_and_reasons_are_in_their_tables() {
    let (metrics, reasons) = (shipped("docs/metrics.md"), shipped("docs/reasons.md"));
    let alerts = shipped("deploy/prometheus/alerts.yaml");
    for text in code(&shipped(RUNBOOK)) {
        for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
            if word.starts_with("hookgate_") {
                assert!(metrics.contains(&format!("| `{word}` |")), "{word}");
            }
            if word.starts_with("Hookgate") {
                assert!(alerts.contains(&format!("alert: {word}\n")), "{word}");
            }
        }
        // Connections have reasons of their own.
        let refusals = Some(text.as_str()).filter(|text| !text.contains("hookgate_connections_"));
        let reasons_named = refusals.unwrap_or_default().split("reason=\"").skip(1);
        for reason in reasons_named.filter_map(|rest| rest.split('"').next()) {
            assert!(reasons.contains(&format!("| `{reason}` |")), "{reason}");
        }
    }
}

#[test]
fn every_alert_stands_where_it_leads() {
    let (text, alerts) = (shipped(RUNBOOK), shipped("deploy/prometheus/alerts.yaml"));
    for alert in alerts.split("- alert: ").skip(1) {
        let name = alert.lines().next().unwrap();
        assert!(text.contains(&format!("`{name}`")), "{name} is not in the runbook");
    }
}

#[test]
fn links_between_the_documents_lead_somewhere() {
    let documents = ["README.md", "ARCHITECTURE.md", "deploy/README.md"].map(str::to_owned);
    let docs = std::fs::read_dir(root("docs")).unwrap().map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|e| e == "md"));
    let docs = docs.map(|path| format!("docs/{}", path.file_name().unwrap().to_string_lossy()));
    for document in documents.into_iter().chain(docs) {
        let folder = root(&document).parent().unwrap().to_path_buf();
        for link in shipped(&document).split("](").skip(1).filter_map(|rest| rest.split(')').next())
        {
            let path = link.split('#').next().unwrap();
            if !link.contains("://") && !path.is_empty() {
                assert!(folder.join(path).exists(), "{document}: {link}");
            }
        }
    }
}
