//! `hookgate check`, and what is said before anything is served.

use std::os::unix::fs::PermissionsExt;

use crate::home::{Home, hookgate, run, said};

const UPSTREAM: &str = "http://127.0.0.1:8080";

fn check(home: &Home, config: &str) -> (i32, String, String) {
    let file = home.write("checked.toml", config);
    run(&["check", "--config", file.to_str().unwrap()])
}

#[test]
fn a_good_file_is_good_and_nothing_is_made_of_it() {
    let home = Home::new();
    let (code, out, complaint) = check(&home, &home.config(UPSTREAM));
    // The certificate was made here.
    assert_eq!(
        (code, complaint.matches("[certificate-self-signed]").count()),
        (0, 1),
        "{complaint}"
    );
    assert_eq!(complaint.matches("warning[").count(), 1, "{complaint}");
    assert!(out.ends_with("checked.toml: good\n"), "{out}");
    assert!(!home.path("state").exists());
}

#[test]
fn every_problem_is_told_at_once_and_serve_tells_the_same() {
    let home = Home::new();
    let config = home
        .config(UPSTREAM)
        .replace("/tls.crt", "/none.crt")
        .replace("/ehr.jwks", "/none.jwks")
        .replace(
            "[[upstream]]",
            "[cors]\norigins = [\"x\"]\n[[upstream]]\nauthorization = \"basic\"",
        );
    let (code, _, complaint) = check(&home, &config);
    assert_eq!(code, 78, "{complaint}");
    for part in ["none.crt", "none.jwks", "cors.origins", "secret_file: is missing"] {
        assert!(complaint.contains(part), "{part}: {complaint}");
    }
    let file = home.path("checked.toml");
    let (code, out, again) = run(&["serve", "--config", file.to_str().unwrap()]);
    assert_eq!((code, again, out.as_str()), (78, complaint, ""));
}

#[test]
fn files_that_are_not_what_they_should_be() {
    let home = Home::new();
    let good = home.config(UPSTREAM);
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    home.write("other.key", &other.signing_key.serialize_pem());
    home.write("empty", "");
    home.write("no.jwks", "{\"keys\": []}");
    home.write(
        "private.jwks",
        r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"a","x":"a","y":"b","d":"s3cret"}]}"#,
    );
    home.write("secret", "s3cret without a colon");
    let upstream = |lines: &str| format!("{good}{lines}\n");
    let here = home.path("").display().to_string();
    let table = [
        (good.replace("/tls.crt", "/none"), "none: there is no such file"),
        (good.replace("/tls.crt", "/empty"), "certificate_file:"),
        (good.replace("/tls.key", "/other.key"), "error[certificate-key]: listener.key_file: "),
        (good.replace("/tls.key", "/tls.crt"), "key_file:"),
        (good.replace("/ehr.jwks", "/none"), "client[0].jwks_file: "),
        (good.replace("/ehr.jwks", "/no.jwks"), "client[0].jwks_file: "),
        (good.replace("/ehr.jwks", "/private.jwks"), "its private half is published with it"),
        (good.replace("/state", "/empty"), "is no directory"),
        (
            upstream(&format!("authorization = \"basic\"\nsecret_file = \"{here}none\"")),
            "upstream[0].secret_file: ",
        ),
        (
            upstream(&format!("authorization = \"basic\"\nsecret_file = \"{here}secret\"")),
            "write user:password",
        ),
        (upstream(&format!("ca_file = \"{here}tls.crt\"")), "ca_file: is of use for https only"),
    ];
    for (config, expected) in table {
        let (code, out, complaint) = check(&home, &config);
        assert_eq!((code, out.as_str()), (78, ""), "{expected}: {complaint}");
        assert!(complaint.contains(expected), "{expected}: {complaint}");
        assert!(!complaint.contains("s3cret"), "{complaint}");
    }
}

#[test]
fn clients_that_cannot_be_told_apart_or_trusted() {
    let home = Home::new();
    let good = home.config(UPSTREAM);
    let second = |id: &str, issuer: &str| {
        let jwks = home.path("ehr.jwks");
        format!("{good}[[client]]\nid = \"{id}\"\nissuer = \"{issuer}\"\njwks_file = {jwks:?}\n")
    };
    let table = [
        (second("b", "https://ehr.example.org/fhir"), "another client has this issuer"),
        (second("ehr", "https://b.example.org"), "another client has this id"),
        (
            second("b", "https://sandbox.cds-hooks.org"),
            "allow_public_test_keys = true on a test system",
        ),
    ];
    for (config, expected) in table {
        let (code, _, complaint) = check(&home, &config);
        assert_eq!(code, 78, "{expected}");
        assert!(complaint.contains(expected), "{expected}: {complaint}");
    }
}

#[test]
fn a_key_file_that_others_can_read_is_refused() {
    let home = Home::new();
    let file = home.write("hookgate.toml", &home.config(UPSTREAM));
    std::fs::create_dir(home.path("state")).unwrap();
    let keys = home.write("state/keys.json", "{}");
    for (mode, expected) in [(0o644, "has mode 0644"), (0o600, "is damaged at line 1")] {
        std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(mode)).unwrap();
        for command in ["check", "serve"] {
            let (code, _, complaint) = run(&[command, "--config", file.to_str().unwrap()]);
            assert_eq!(code, 78, "{complaint}");
            assert!(complaint.contains(expected), "{complaint}");
        }
    }
}

#[test]
fn variables_override_the_file_and_are_named_where_they_are_wrong() {
    let home = Home::new();
    let file = home.write("hookgate.toml", &home.config(UPSTREAM));
    let check = |name: &str, value: &str| {
        let mut command = hookgate(&["check", "--config", file.to_str().unwrap()]);
        said(command.env(name, value).output().unwrap())
    };
    let table = [
        ("HOOKGATE__LISTENER__ADDRESS", "0.0.0.0:443", ""),
        ("HOOKGATE__LISTENER__ADDRESS", "443", "listener.address: cannot be 443"),
        ("HOOKGATE__LISTENER__KEY_FILE", "/none", "key_file: /none: there is no such file"),
        ("HOOKGATE__PUBLIC_URL", "https://x.org/cds", ""),
        ("HOOKGATE__PUBLIC_URL", "x.org", "public_url: \"x.org\" is not a URL"),
        ("HOOKGATE__TRUSTED_PROXIES", "[\"10.0.0.0/8\"]", ""),
        ("HOOKGATE__LISTENER__ADRESS", "1", "listener.adress: there is no such key"),
        ("HOOKGATE__NOTHING", "1", "nothing: there is no such key"),
        (
            "HOOKGATE__CLIENT__0__ID",
            "x",
            "client: the keys of a list of tables can be set in the file only",
        ),
        // Kubernetes sets these by itself for a Service of this name.
        ("HOOKGATE_SERVICE_HOST", "10.0.0.1", ""),
        ("HOOKGATE_PORT", "tcp://10.0.0.1:443", ""),
    ];
    for (name, value, expected) in table {
        let (code, out, complaint) = check(name, value);
        assert_eq!(code, if expected.is_empty() { 0 } else { 78 }, "{name}: {complaint}");
        assert!(complaint.contains(expected), "{name}: {out}{complaint}");
        let named = complaint.contains(&format!("set by the environment variable {name}"));
        assert_eq!(named, !expected.is_empty(), "{name}: {complaint}");
    }
}

#[test]
fn what_was_typed_wrong_is_no_failure_of_the_configuration() {
    for arguments in
        [&[][..], &["srve"], &["serve", "--nope"], &["check", "--config"], &["demo", "--port", "x"]]
    {
        let (code, out, complaint) = run(arguments);
        assert_eq!((code, out.as_str()), (64, ""), "{arguments:?}");
        assert!(complaint.contains("--help") || complaint.contains("Usage:"), "{complaint}");
    }
    for arguments in [["--help"], ["--version"]] {
        let (code, out, complaint) = run(&arguments);
        assert_eq!((code, complaint.as_str()), (0, ""));
        assert!(out.contains("hookgate"), "{out}");
    }
    let (code, _, complaint) = run(&["check", "--config", "/nowhere/hookgate.toml"]);
    assert_eq!(code, 78);
    assert!(
        complaint.contains("/nowhere/hookgate.toml")
            && complaint.contains("cannot be read: No such file"),
        "{complaint}"
    );
}
