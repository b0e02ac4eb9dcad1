//! `hookgate keys`: what it prints, what it refuses, and that a gateway takes it up while it serves.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::process::Command;

use hookgate::demo::server::Server;
use serde_json::Value;
use tempfile::TempDir;

use crate::home::{Home, cards, hookgate, run, said, until};

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        assert_eq!(place.keys(&["new", "--first"]).0, 0);
        place
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn keys(&self, arguments: &[&str]) -> (i32, String, String) {
        keys(arguments, &["--file", &self.path("keys.json")])
    }

    fn listed(&self) -> Value {
        let (code, out, _) = self.keys(&["list", "--format", "json"]);
        assert_eq!(code, 0);
        serde_json::from_str(&out).unwrap()
    }

    /// The states of the keys, sealing before signing.
    fn states(&self) -> Vec<String> {
        let listed = self.listed();
        let keys = listed["keys"].as_array().unwrap();
        let word = |key: &Value, name: &str| key[name].as_str().unwrap().to_owned();
        keys.iter().map(|key| format!("{} {}", word(key, "kind"), word(key, "state"))).collect()
    }
}

fn keys(arguments: &[&str], more: &[&str]) -> (i32, String, String) {
    run(&[&["keys"], arguments, more].concat())
}

#[test]
fn a_rotation_is_two_steps_and_says_what_comes_next() {
    let place = Place::new();
    assert_eq!(place.states(), ["seal current", "sign current"]);
    let (code, out, complaint) = place.keys(&["new", "--alg", "EdDSA"]);
    assert_eq!((code, complaint.as_str()), (0, ""));
    assert!(out.contains("seal 2: added as next\n"), "{out}");
    assert!(out.contains("hookgate keys rotate"), "{out}");
    let both = ["seal current", "seal next", "sign current", "sign next"];
    assert_eq!(place.states(), both);
    let (code, _, complaint) = place.keys(&["new"]);
    assert_eq!(code, 1);
    assert!(complaint.contains("there is a next seal key already, 2"), "{complaint}");

    let (code, _, complaint) = place.keys(&["rotate"]);
    assert_eq!(code, 1);
    assert!(complaint.contains("may become current from 20"), "{complaint}");
    assert_eq!(place.states(), both);
    let (code, out, complaint) = place.keys(&["rotate", "--after", "0s"]);
    assert_eq!((code, complaint.as_str()), (0, ""));
    assert!(out.contains("seal 1: changed to previous, may go from 20"), "{out}");
    let after = ["seal current", "seal previous", "sign current", "sign previous"];
    assert_eq!(place.states(), after);

    let (code, _, complaint) = place.keys(&["retire"]);
    assert_eq!(code, 1);
    assert!(
        complaint.contains("no earlier key may go yet:\n  seal 1: may go from 20"),
        "{complaint}"
    );
    let (code, out, complaint) = place.keys(&["retire", "--force", "1"]);
    assert_eq!(code, 0);
    assert!(out.starts_with("seal 1: dropped\n"), "{out}");
    assert!(complaint.contains("is refused as soon as"), "{complaint}");
    assert_eq!(place.states(), ["seal current", "sign current", "sign previous"]);
    let (code, _, complaint) = place.keys(&["retire", "--force", "2"]);
    assert_eq!(code, 1);
    assert!(complaint.contains("the seal key 2 is in use"), "{complaint}");
    assert_eq!(fs::metadata(place.path("keys.json")).unwrap().permissions().mode() & 0o7777, 0o600);
}

#[test]
fn what_has_leaked_is_replaced_without_the_wait_and_the_risk_is_told() {
    let place = Place::new();
    assert_eq!(place.keys(&["new", "--sealing-only"]).0, 0);
    let (code, _, complaint) = place.keys(&["rotate", "--now"]);
    assert_eq!(code, 0);
    assert!(complaint.contains("one refuses what another seals"), "{complaint}");
    assert_eq!(place.states(), ["seal current", "seal previous", "sign current"]);
    assert_eq!(place.keys(&["new", "--signing-only"]).0, 0);
    assert_eq!(place.states(), ["seal current", "seal previous", "sign current", "sign next"]);
}

#[test]
fn nothing_secret_is_printed() {
    let place = Place::new();
    place.keys(&["new"]);
    let file: Value = serde_json::from_slice(&fs::read(place.path("keys.json")).unwrap()).unwrap();
    let printed = [&["list"][..], &["list", "--format", "json"], &["rotate"], &["rotate", "--now"]]
        .map(|arguments| format!("{:?}", place.keys(arguments)))
        .concat();
    assert!(printed.contains("fingerprint: current "), "{printed}");
    for number in 0..2 {
        let secrets = [&file["seal"][number]["key"], &file["sign"][number]["jwk"]["d"]];
        for secret in secrets.map(|secret| secret.as_str().unwrap()) {
            assert!(secret.len() == 43 && !printed.contains(secret));
        }
    }
}

/// A Secret's volume with nothing but its name has mode 0644, and no chmod changes that.
#[test]
fn a_mounted_secret_that_is_exposed_is_the_volumes_matter() {
    const ME: u32 = 1000;
    let place = Place::new();
    fs::create_dir(place.path("..1")).unwrap();
    fs::rename(place.path("keys.json"), place.path("..1/keys.json")).unwrap();
    symlink("..1", place.path("..data")).unwrap();
    symlink("..data/keys.json", place.path("keys.json")).unwrap();
    let file = place.path("keys.json");
    for path in [place.path(""), place.path("..1")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, _, complaint) = place.keys(&["list"]);
    assert_eq!(code, 78);
    assert!(complaint.contains("defaultMode: 0400"), "{complaint}");
    if chown(&file, Some(0), Some(ME)).is_err() {
        return;
    }
    let list = || {
        let mut list = hookgate(&["keys", "list", "--file", &file]);
        said(list.uid(ME).gid(ME).output().unwrap())
    };
    let (code, _, complaint) = list();
    assert_eq!(code, 78);
    assert!(complaint.contains("defaultMode: 0440") && !complaint.contains("chmod"), "{complaint}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o440)).unwrap();
    assert_eq!(list().0, 0);
}

/// A key file for a program without privileges, as those put it there who have them.
#[test]
fn a_program_without_privileges_reads_its_own_file_and_roots_and_no_third_users() {
    const ME: u32 = 1000;
    let place = Place::new();
    fs::set_permissions(place.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let file = place.path("keys.json");
    if chown(&file, Some(ME), Some(ME)).is_err() {
        // Only root may give files away and run programs as somebody else.
        return;
    }
    let table = [
        (ME, 0o600, None),
        (ME, 0o640, Some("has mode 0640")),
        (0, 0o440, None),
        (0, 0o640, None),
        (0, 0o644, Some("has mode 0644")),
        (1234, 0o640, Some("belongs to the user 1234")),
        (1234, 0o440, Some("belongs to the user 1234")),
    ];
    for (owner, mode, refused) in table {
        chown(&file, Some(owner), Some(ME)).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let mut list = hookgate(&["keys", "list", "--file", &file]);
        let (code, _, complaint) = said(list.uid(ME).gid(ME).output().unwrap());
        assert_eq!(code, if refused.is_some() { 78 } else { 0 }, "{owner} {mode:o}: {complaint}");
        assert!(complaint.contains(refused.unwrap_or_default()), "{owner} {mode:o}: {complaint}");
    }
    assert_eq!(place.keys(&["list"]).0, 0, "root works on the files of others");
}

#[test]
fn a_mounted_secret_goes_by_way_of_another_file() {
    let place = Place::new();
    fs::create_dir(place.path("..1")).unwrap();
    fs::rename(place.path("keys.json"), place.path("..1/keys.json")).unwrap();
    symlink("..1", place.path("..data")).unwrap();
    symlink("..data/keys.json", place.path("keys.json")).unwrap();
    let (code, _, complaint) = place.keys(&["new"]);
    assert_eq!(code, 73);
    assert!(complaint.contains("--output FILE"), "{complaint}");
    let output = place.path("new.json");
    let (code, out, _) = place.keys(&["new", "--output", &output]);
    assert_eq!(code, 0);
    assert!(out.contains("new.json is to be applied in place of "), "{out}");
    assert_eq!(place.states().len(), 2);
    let (_, listed, _) = keys(&["list"], &["--file", &output]);
    assert_eq!(listed.matches("next").count(), 2, "{listed}");
    let (code, _, complaint) = place.keys(&["new", "--output", &output]);
    assert_eq!(code, 73);
    assert!(complaint.contains("is there already"), "{complaint}");
}

#[test]
fn the_configuration_says_where_the_file_is_and_how_long_a_key_must_last() {
    let home = Home::new();
    let config = format!(
        "{}[[service]]\nid = \"*\"\nfeedback = {{ lifetime = \"1000h\" }}\n",
        home.config("http://127.0.0.1:8080")
    );
    let file = home.write("keys.toml", &config);
    let config = ["--config", file.to_str().unwrap()];
    let (code, _, complaint) = keys(&["list"], &config);
    assert_eq!(code, 78);
    assert!(complaint.contains("state/keys.json cannot be read"), "{complaint}");
    let short = ["new", "--first", "--longest-life", "999h"];
    assert_eq!(keys(&short, &config).0, 64);
    assert_eq!(keys(&["new", "--first"], &config).0, 0);
    let (code, _, complaint) = keys(&["new", "--longest-life", "999h"], &config);
    assert_eq!(code, 78);
    assert!(complaint.contains("may live for 999h at most"), "{complaint}");
    let (_, listed, _) = keys(&["list", "--format", "json"], &config);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["keys"][0]["longest_life_seconds"], 3_600_000);
    assert_eq!(listed["keys"].as_array().unwrap().len(), 2);

    let memory = "[state]\nbackend = \"memory\"\n";
    let text = home.config("http://127.0.0.1:8080");
    let (before, after) = text.split_once("[state]\n").unwrap();
    let rest = after.split_once('\n').unwrap().1;
    let file = home.write("memory.toml", &format!("{before}{memory}{rest}"));
    let (code, _, complaint) = keys(&["list"], &["--config", file.to_str().unwrap()]);
    assert_eq!(code, 78);
    assert!(complaint.contains("has no key file"), "{complaint}");
}

/// The rotation that is done on a copy of the file, away from the configuration.
#[tokio::test]
async fn a_copy_of_the_file_says_how_long_a_key_must_last() {
    let home = Home::new();
    let lives = "[[service]]\nid = \"*\"\nfeedback = { lifetime = \"1080h\" }\n";
    let config = home.write("keys.toml", &format!("{}{lives}", home.config("http://127.0.0.1:1")));
    let config = config.to_str().unwrap();
    let (file, copy) = (home.path("state/keys.json"), home.path("copy.json"));
    assert_eq!(keys(&["new", "--first"], &["--config", config]).0, 0);
    let running = home.serve(&fs::read_to_string(config).unwrap());
    fs::copy(&file, &copy).unwrap();
    let on_copy = ["--file", copy.to_str().unwrap()];
    let (code, _, complaint) = keys(&["new", "--longest-life", "1079h"], &on_copy);
    assert_eq!(code, 1);
    assert!(complaint.contains("--shorter"), "{complaint}");
    assert_eq!(keys(&["new"], &on_copy).0, 0);
    fs::rename(&copy, &file).unwrap();
    let taken_up = r#"hookgate_keyring_key{kind="seal",kid="2",state="next"} 1"#;
    until(taken_up, async || running.health("/metrics").await.unwrap().1.contains(taken_up)).await;
    let (code, _, complaint) = run(&["check", "--config", config]);
    assert_eq!(code, 0, "{complaint}");

    let shorter = ["new", "--longest-life", "1h", "--shorter", "--sealing-only"];
    assert_eq!(keys(&["rotate", "--now"], &["--config", config]).0, 0);
    assert_eq!(keys(&shorter, &["--config", config]).0, 78);
    let (code, _, complaint) = keys(&shorter, &["--file", file.to_str().unwrap()]);
    assert_eq!(code, 0, "{complaint}");
}

#[test]
fn a_wrong_command_line_is_told() {
    let place = Place::new();
    for wrong in [
        &["new", "--alg", "HS256"][..],
        &["new", "--sealing-only", "--signing-only"],
        &["new", "--longest-life", "10"],
        &["new", "--shorter"],
        &["rotate", "--now", "--after", "1m"],
        &["list", "--config", "x"],
        &["drop"],
    ] {
        assert_eq!(place.keys(wrong).0, 64, "{wrong:?}");
    }
    let (code, _, complaint) = place.keys(&["new", "--first"]);
    assert_eq!(code, 73);
    assert!(complaint.contains("is there already, and is left as it is"), "{complaint}");
}

#[tokio::test]
async fn a_gateway_that_serves_takes_each_step_up() {
    let home = Home::new();
    let service = Server::start(|_| async { cards() }).await.unwrap();
    let running = home.serve(&home.config(&service.url()));
    let file = home.path("state/keys.json");
    let step = |arguments: &[&str]| {
        let (code, out, complaint) = keys(arguments, &["--file", file.to_str().unwrap()]);
        assert_eq!(code, 0, "{complaint}");
        out
    };
    let shows = async |line: &str| {
        until(line, async || running.health("/metrics").await.unwrap().1.contains(line)).await;
    };
    let before = home.link().await;
    step(&["new"]);
    shows(r#"hookgate_keyring_key{kind="seal",kid="2",state="next"} 1"#).await;
    let between = home.link().await;
    step(&["rotate", "--after", "0s"]);
    shows(r#"hookgate_keyring_key{kind="seal",kid="2",state="current"} 1"#).await;
    let listed: Value = serde_json::from_str(&step(&["list", "--format", "json"])).unwrap();
    let of = |name: &str| listed["fingerprint"][name].as_str().unwrap().to_owned();
    let (current, held) = (of("current"), of("held"));
    shows(&format!(r#"hookgate_keyring_fingerprint{{current="{current}",held="{held}"}} 1"#)).await;
    let after = home.link().await;
    for link in [before, between, after] {
        assert_eq!(home.click(&link).await, 303);
        assert_eq!(home.click(&link).await, 410);
    }

    let good = fs::read(&file).unwrap();
    fs::write(&file, "{").unwrap();
    shows("hookgate_keyring_file_refused 1").await;
    let told = running.await_line(|line| line["level"] == "ERROR");
    assert!(told["error"].as_str().unwrap().contains("is damaged at line 1"), "{told}");
    let link = home.link().await;
    fs::write(&file, good).unwrap();
    shows("hookgate_keyring_file_refused 0").await;
    assert_eq!(home.click(&link).await, 303);
    let ready = async || running.health("/readyz").await.unwrap();
    until("it is good again", async || !ready().await.1.contains("degraded")).await;

    // Nobody will ever write to it.
    fs::remove_file(&file).unwrap();
    assert!(Command::new("mkfifo").arg("-m600").arg(&file).status().unwrap().success());
    until("told in readiness", async || ready().await.1.contains("is no regular file")).await;
    let (status, said) = ready().await;
    assert_eq!(status, 200, "{said}");
    assert!(said.contains(r#"{"degraded":["keyring: the key file "#), "{said}");
    running.signal("TERM");
    assert_eq!(running.end().0.code(), Some(0));
}
