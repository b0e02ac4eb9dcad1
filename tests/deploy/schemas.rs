//! What others' rules say about what is shipped: the schemas of Kubernetes, checkov and hadolint.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::manifests::Manifests;
use crate::tools::{both, root, said, tool};

/// The oldest in which what the examples use is on without a switch, and the one whose kubectl renders them.
const KUBERNETES: [&str; 2] = ["1.30", "1.34"];

/// What checkov would have otherwise.
const NOT_DONE: [(&str, &str); 2] = [
    (
        "CKV_K8S_43",
        "no image is published: whoever has built one writes its digest into his kustomization",
    ),
    (
        "CKV_K8S_15",
        "images have fixed tags; a registry that is away shall not keep a pod from starting",
    ),
];

#[test]
fn every_object_is_what_the_schema_of_kubernetes_says_and_nothing_more() {
    for example in Manifests::all() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rendered.yaml");
        std::fs::write(&file, &example.text).unwrap();
        let known =
            example.objects().iter().filter(|object| object["kind"] != "ServiceMonitor").count();
        for version in KUBERNETES {
            let mut validate = tool("checks/bin/kubernetes-validate");
            let told = said(validate.args(["--strict", "-k", version]).arg(&file));
            let passed = told.lines().filter(|line| line.contains(" passed for resource ")).count();
            assert_eq!(passed, known, "{} in {version}\n{told}", example.name);
            // The Prometheus Operator's, of which there is no schema here.
            for line in told.lines().filter(|line| !line.contains(" passed for resource ")) {
                assert!(line.contains("Couldn't find schema for kind ServiceMonitor"), "{line}");
            }
        }
    }
}

/// What checkov finds wrong: which check, and in what.
fn found_by_checkov(framework: &str, file: &std::path::Path) -> Vec<(String, String)> {
    let mut checkov = tool("checks/bin/checkov");
    checkov
        .args(["--framework", framework, "--skip-download", "--output", "json", "--file"])
        .arg(file);
    let output = checkov.output().unwrap();
    let found: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", both(&output)));
    assert!(found["summary"]["passed"].as_u64().unwrap() > 20, "{found}");
    assert_eq!(found["summary"]["parsing_errors"], 0, "{found}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let failed = found["results"]["failed_checks"].as_array().unwrap().iter();
    failed.map(|check| (text(&check["check_id"]), text(&check["resource"]))).collect()
}

#[test]
fn checkov_finds_nothing_but_what_is_left_so_for_a_reason() {
    let mut left = BTreeSet::new();
    for example in Manifests::all() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rendered.yaml");
        std::fs::write(&file, &example.text).unwrap();
        for (check, resource) in found_by_checkov("kubernetes", &file) {
            let reason = NOT_DONE.iter().any(|(known, _)| *known == check);
            assert!(reason, "{}: {check} in {resource}", example.name);
            left.insert(check);
        }
    }
    let listed: BTreeSet<String> = NOT_DONE.iter().map(|(check, _)| (*check).to_owned()).collect();
    assert_eq!(left, listed, "an exception that is not needed any more");
    assert_eq!(found_by_checkov("dockerfile", &root("deploy/Dockerfile")), []);
}

#[test]
fn hadolint_has_nothing_to_say() {
    let told = said(tool("checks/bin/hadolint").args([
        "--failure-threshold",
        "ignore",
        "deploy/Dockerfile",
    ]));
    assert_eq!(told, "");
}
