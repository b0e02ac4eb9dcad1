//! The units, as systemd reads them.

use std::path::Path;
use std::process::Command;

use crate::tools::{both, shipped};

/// In tenths: 1.3 is what is left when a service needs the network.
const EXPOSURE: &str = "14";

/// The units in a folder, with the program that was built in place of the installed one.
fn units(folder: &Path) -> [String; 2] {
    ["hookgate.service", "hookgate.socket"].map(|name| {
        let unit = shipped(&format!("deploy/systemd/{name}"));
        let unit = unit.replace("/usr/local/bin/hookgate", env!("CARGO_BIN_EXE_hookgate"));
        let path = folder.join(name);
        std::fs::write(&path, unit).unwrap();
        path.display().to_string()
    })
}

fn analyze(arguments: &[&str]) -> (bool, String) {
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(arguments).env("SYSTEMD_PAGER", "cat").env("SYSTEMD_COLORS", "0");
    let output = analyze.output().unwrap_or_else(|e| panic!("systemd-analyze: {e}; run tests/run"));
    (output.status.success(), both(&output))
}

#[test]
fn systemd_has_nothing_to_say_about_the_units() {
    let folder = tempfile::tempdir().unwrap();
    let [service, socket] = units(folder.path());
    let (good, told) = analyze(&["verify", "--man=no", &service, &socket]);
    assert!(good, "{told}");
    // What it says about other units of this machine is not ours.
    assert!(!told.contains("hookgate"), "{told}");
}

#[test]
fn the_service_is_shown_no_more_of_the_machine_than_it_needs() {
    let folder = tempfile::tempdir().unwrap();
    let [service, _] = units(folder.path());
    let rate =
        || analyze(&["security", "--offline=true", &format!("--threshold={EXPOSURE}"), &service]);
    let (good, told) = rate();
    assert!(good, "{told}");
    // It would notice.
    let open = shipped("deploy/systemd/hookgate.service").replace("CapabilityBoundingSet=\n", "");
    std::fs::write(&service, open).unwrap();
    assert!(!rate().0);
}

#[test]
fn the_socket_opens_the_port_of_the_readmes_configuration() {
    let readme = shipped("README.md");
    assert!(readme.contains("address = \"0.0.0.0:443\""));
    assert!(shipped("deploy/systemd/hookgate.socket").contains("\nListenStream=443\n"));
}
