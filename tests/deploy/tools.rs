//! The tools that `tests/run` installs.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A path in the repository.
pub(crate) fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

pub(crate) fn shipped(path: &str) -> String {
    std::fs::read_to_string(root(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The tool at `path` below `target/test-tools`.
pub(crate) fn tool(path: &str) -> Command {
    let tool = root("target/test-tools").join(path);
    assert!(tool.exists(), "{} is not there; run tests/run", tool.display());
    let mut command = Command::new(tool);
    command.current_dir(root("")).stdin(Stdio::null());
    // Some of them take settings from there, and one asks a server for newer rules.
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", std::env::temp_dir());
    command
}

/// What it said, on both ways, where it succeeded.
pub(crate) fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}\n{}", both(&output));
    both(&output)
}

pub(crate) fn both(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

/// Every document in a text of YAML.
pub(crate) fn yaml(text: &str) -> Vec<Value> {
    const READ: &str =
        "import json, sys, yaml; json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)";
    let mut python = tool("checks/bin/python");
    python.args(["-c", READ]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut reader = python.spawn().unwrap();
    reader.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = reader.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", both(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}
