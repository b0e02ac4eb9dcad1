//! The image: that the build has what it reads, and that it runs what the program has.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::manifests::Manifests;
use crate::tools::{both, root, shipped};

fn instruction<'a>(dockerfile: &'a str, name: &str) -> &'a str {
    let line = dockerfile.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name}")).trim()
}

#[test]
fn the_build_is_given_what_it_reads_and_nothing_else() {
    let ignored = shipped(".dockerignore");
    let given: Vec<_> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert!(ignored.lines().any(|line| line == "*"), "everything else is left out");
    assert_eq!(given, ["Cargo.toml", "Cargo.lock", "benches", "deploy/image-root", "src"]);
    let script = root("deploy/image-root");
    assert_ne!(std::fs::metadata(&script).unwrap().permissions().mode() & 0o111, 0);
    let dockerfile = shipped("deploy/Dockerfile");
    assert_eq!(instruction(&dockerfile, "RUN "), "deploy/image-root /image");
    // Everything that the program includes is in src.
    let manifest: toml::Table = shipped("Cargo.toml").parse().unwrap();
    let version = manifest["package"]["rust-version"].as_str().unwrap();
    assert!(dockerfile.contains(&format!("\nFROM rust:{version}-bookworm AS build\n")));
}

#[test]
fn the_image_starts_the_program_as_the_user_that_the_manifests_name() {
    let dockerfile = shipped("deploy/Dockerfile");
    let (pod, container) = (Manifests::of("standalone"), Manifests::of("sidecar"));
    let numbers = instruction(&dockerfile, "USER ");
    let (user, _) = numbers.split_once(':').unwrap();
    assert_eq!(pod.gateway().0["spec"]["securityContext"]["runAsUser"].to_string(), user);
    assert_eq!(container.gateway().1["securityContext"]["runAsUser"].to_string(), user);
    assert!(shipped("deploy/image-root").contains(&format!("hookgate:x:{numbers}:")));
    let program = instruction(&dockerfile, "ENTRYPOINT ");
    assert_eq!(program, r#"["/usr/local/bin/hookgate"]"#);
    assert!(shipped("deploy/image-root").contains("\"$root/usr/local/bin/hookgate\""));
}

#[test]
fn what_the_manifests_and_the_image_start_are_commands_of_the_program() {
    let dockerfile = shipped("deploy/Dockerfile");
    let (_, check) = instruction(&dockerfile, "HEALTHCHECK ").split_once("CMD ").unwrap();
    let check: Vec<String> = serde_json::from_str(check).unwrap();
    let serve: Vec<String> = serde_json::from_str(instruction(&dockerfile, "CMD ")).unwrap();
    let sidecar = Manifests::of("sidecar");
    let drain = &sidecar.gateway().1["lifecycle"]["preStop"]["exec"]["command"];
    let drain: Vec<String> = serde_json::from_value(drain.clone()).unwrap();
    for arguments in [check.get(1..).unwrap(), &serve, drain.get(1..).unwrap()] {
        // Help is given for what the command takes, and for nothing else.
        let mut command = Command::new(env!("CARGO_BIN_EXE_hookgate"));
        let output = command.args(arguments).arg("--help").output().unwrap();
        assert!(output.status.success(), "{arguments:?}\n{}", both(&output));
    }
}
