//! `hookgate explain`: on tokens, links and ids as an operator has them.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use hookgate::clock::{ManualClock, UnixTime};
use hookgate::demo::server::{Server, json};
use hookgate::entropy::SeededEntropy;
use hookgate::gateway::tokens::{Binding, CardIds, Kind, KnownNames, LinkTokens};
use hookgate::keyring::{Keyring, LiveKeyring};
use hookgate::names::{ClientId, HookInstance, ServiceId};
use hookgate::store::Incarnation;
use serde_json::Value;

use crate::home::{Home, cards, hookgate, run, said, until};
use crate::port::free_port;
use crate::server::RedisServer;

const UPSTREAM: &str = "http://127.0.0.1:8080";

/// Gives `input` on standard input.
fn explain(home: &Home, input: &str, arguments: &[&str]) -> (i32, String, String) {
    let config = home.path("hookgate.toml");
    let all = [&["explain", arguments[0], "--config", config.to_str().unwrap()], &arguments[1..]];
    let mut child = hookgate(&all.concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // What is wrong with the arguments is told before anything is read.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    said(child.wait_with_output().unwrap())
}

#[test]
fn a_token_is_taken_from_where_it_is_and_nothing_of_it_is_left_behind() {
    let home = Home::new();
    home.write("hookgate.toml", &home.config(UPSTREAM));
    let (url, token) = (home.endpoint(), home.token(&home.endpoint()));
    let file = home.write("token", &format!("{token}\n"));
    let ask = |input: &str, more: &[&str]| {
        explain(&home, input, &[&["token", "--url", &url], more].concat())
    };
    let by_input = ask(&format!("{token}\n"), &[]);
    assert_eq!((by_input.0, by_input.2.as_str()), (0, ""), "{by_input:?}");
    assert!(by_input.1.contains("\naccepted: unless it was used before"), "{}", by_input.1);
    let header = format!("Authorization: Bearer {token}");
    for (input, more) in [
        (header.as_str(), vec![]),
        (&format!("bearer {token}"), vec![]),
        (&token, vec!["-"]),
        ("", vec![token.as_str()]),
        ("", vec!["--file", file.to_str().unwrap()]),
        (&token, vec!["--method", "POST"]),
    ] {
        let (code, out, complaint) = ask(input, &more);
        assert_eq!((code, complaint.as_str()), (0, ""), "{more:?}: {out}");
    }
    let signature = token.rsplit('.').next().unwrap();
    assert!(!by_input.1.contains(signature) && !by_input.1.contains(&token), "{}", by_input.1);
    assert!(!home.path("state").exists(), "nothing is stored");
}

#[test]
fn what_is_wrong_is_told_for_people_and_for_scripts() {
    let home = Home::new();
    home.write("hookgate.toml", &home.config(UPSTREAM));
    let url = home.endpoint();
    let other = home.token("https://other.example.org/cds-services/greeting");
    let late = "--at=2100-01-01T00:00:00Z";
    let (code, out, _) = explain(&home, &other, &["token", "--url", &url, late]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("\nrefused: audience (401 unauthorized): "), "{out}");
    assert!(out.contains("\nand then: expired\n"), "{out}");
    assert!(out.contains("is public_url what the EHR calls?"), "{out}");

    let (code, out, _) =
        explain(&home, &other, &["token", "--url", &url, late, "--format", "json"]);
    assert_eq!(code, 1);
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told["verdict"]["verdict"], "refused");
    assert_eq!(told["verdict"]["reason"], "audience");
    assert_eq!(told["verdict"]["status"], 401);
    let steps = told["steps"].as_array().unwrap();
    let failed: Vec<&str> = steps
        .iter()
        .filter(|step| step["outcome"] == "failed")
        .map(|step| step["reason"].as_str().unwrap())
        .collect();
    assert_eq!(failed, ["audience", "expired"]);
    let keys = steps.iter().find(|step| step["name"] == "kid").unwrap();
    assert_eq!(keys["came"], "key-1");
}

#[test]
fn the_way_is_judged_before_the_token() {
    let home = Home::new();
    home.write("hookgate.toml", &home.config(UPSTREAM));
    let token = home.token(&home.endpoint());
    for (path, method, expected) in [
        ("/cds-services/greeting", "GET", "\nrefused: method (405 method)"),
        ("/cds-service/greeting", "POST", "\nrefused: no-route (404 no-route)"),
        ("/cds-services/a%2Fb", "POST", "\nrefused: target (400 malformed)"),
        ("/cds-services", "GET", "\naccepted: anybody may ask"),
        ("/open/abc", "GET", "\naccepted: nobody needs a token here"),
    ] {
        let url = format!("{}{path}", home.url());
        let (_, out, _) = explain(&home, &token, &["token", "--url", &url, "--method", method]);
        assert!(out.contains(expected), "{path}: {out}");
    }
    let elsewhere = "https://other.example.org/cds-services/greeting";
    let (code, out, _) = explain(&home, &token, &["token", "--url", elsewhere]);
    assert_eq!(code, 0, "a Host is not looked at");
    assert!(out.contains("note: https://other.example.org is not https://localhost"), "{out}");
}

#[test]
fn usage_and_configuration_have_their_own_exit_codes() {
    let home = Home::new();
    home.write("hookgate.toml", &home.config(UPSTREAM));
    let url = home.endpoint();
    for arguments in [
        &["token"][..],
        &["token", "--url", "http://a b"],
        &["token", "--url", &url, "--at", "yesterday"],
        &["token", "--url", &url, "--client", "nobody"],
        &["token", "--url", &url, "--file", "/nowhere"],
        &["nothing"],
    ] {
        assert_eq!(explain(&home, "x", arguments).0, 64, "{arguments:?}");
    }
    assert_eq!(explain(&home, " \n", &["token", "--url", &url]).0, 64);
    assert_eq!(explain(&home, "a\nb", &["token", "--url", &url]).0, 64);
    let (code, out, _) = explain(&home, "a", &["token", "--url", &url]);
    assert_eq!(code, 1);
    assert!(out.contains("refused: token-malformed"), "{out}");
    home.write("hookgate.toml", "public_url = 1");
    assert_eq!(explain(&home, "x", &["token", "--url", &url]).0, 78);
    let missing = home.config(UPSTREAM).replace("/ehr.jwks", "/none.jwks");
    home.write("hookgate.toml", &missing);
    assert_eq!(explain(&home, "x", &["token", "--url", &url]).0, 78);
    assert_eq!(explain(&home, "x", &["link"]).0, 78, "there is no key file yet");
    let (_, help, _) = run(&["explain", "token", "--help"]);
    assert!(help.contains("standard input"), "{help}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_server_is_asked_only_where_that_is_said() {
    let home = Home::new();
    let jwks = std::fs::read_to_string(home.path("ehr.jwks")).unwrap();
    let asked = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let count = Arc::clone(&asked);
    let server = Server::start(move |_| {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let jwks = jwks.clone();
        async move { json(200, jwks) }
    })
    .await
    .unwrap();
    let file = format!("jwks_file = \"{}\"", home.path("ehr.jwks").display());
    let with = |line: &str| home.config(UPSTREAM).replace(&file, line);
    let here = format!("jwks_url = \"{}\"\nallow_private_key_server = true", server.url());
    home.write("hookgate.toml", &with(&here));
    let (url, token) = (home.endpoint(), home.token(&home.endpoint()));
    let ask = |more: &[&str]| explain(&home, &token, &[&["token", "--url", &url], more].concat());
    let (code, out, _) = ask(&[]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("\nundecided: ") && out.contains("use --live"), "{out}");
    assert!(out.contains("ok    aud"), "the rest is examined all the same: {out}");
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 0);
    let (code, out, _) = ask(&["--live"]);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("kid key-1") && out.contains("read just now"), "{out}");
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 1);
    assert!(!home.path("state").exists(), "what was fetched is not kept");

    let nobody = format!("http://127.0.0.1:{}/jwks", free_port());
    home.write(
        "hookgate.toml",
        &with(&format!("jwks_url = \"{nobody}\"\nallow_private_key_server = true")),
    );
    let (code, out, _) = ask(&["--live"]);
    assert_eq!(code, 1);
    assert!(out.contains("refused: keys-unavailable (503 keys-unavailable)"), "{out}");
    // What the gateway does not dial is not dialled here either.
    home.write("hookgate.toml", &with("jwks_url = \"https://127.0.0.1:1/jwks\""));
    let (_, out, _) = ask(&["--live"]);
    assert!(out.contains("private"), "{out}");
}

#[tokio::test]
async fn a_link_of_a_gateway_that_serves_is_looked_into_and_not_spent() {
    let home = Home::new();
    let service = Server::start(|_| async { cards() }).await.unwrap();
    let config = home.config(&service.url());
    let _running = home.serve(&config);
    let link = home.link().await;
    let (code, out, complaint) = explain(&home, &link, &["link"]);
    assert_eq!((code, complaint.as_str()), (0, ""), "{out}");
    for expected in ["ok    seal", "client    ehr", "service   greeting", "in 59 min"] {
        assert!(out.contains(expected), "{expected}: {out}");
    }
    let token = link.rsplit('/').next().unwrap();
    assert!(!out.contains("4711") && !out.contains("app.example") && !out.contains(token), "{out}");
    let (code, out, _) = explain(&home, token, &["link", "--show-target"]);
    assert_eq!(code, 0);
    assert!(out.contains("it leads to https://app.example/?session=4711"), "{out}");

    let (code, out, _) = explain(&home, &link, &["link", "--at", "4102444800"]);
    assert_eq!(code, 1);
    assert!(out.contains("\nrefused: link-expired (410 link-gone)"), "{out}");
    let mut changed = token.to_owned();
    let last = if changed.ends_with('A') { "Q" } else { "A" };
    changed.replace_range(changed.len() - 1.., last);
    for (broken, expected) in [
        (changed.as_str(), "refused: link-"),
        (&token[..token.len() - 20], "refused: link-forged (410 link-gone)"),
        ("https://localhost/cds-services/greeting", "refused: link-malformed"),
        ("nonsense", "refused: link-malformed"),
    ] {
        let (code, out, _) = explain(&home, broken, &["link"]);
        assert_eq!(code, 1, "{broken}");
        assert!(out.contains(expected), "{expected}: {out}");
    }
    // Another key file has made nothing of it.
    let keys = home.path("others.json");
    let made = run(&["keys", "new", "--first", "--file", keys.to_str().unwrap()]);
    assert_eq!(made.0, 0, "{made:?}");
    let (_, out, _) = explain(&home, &link, &["link", "--key-file", keys.to_str().unwrap()]);
    assert!(out.contains("refused: link-forged"), "{out}");
    assert_eq!(home.click(&link).await, 303, "looking at it has spent nothing");
}

/// Redis can be looked into while gateways serve.
#[tokio::test(flavor = "multi_thread")]
async fn in_redis_it_is_seen_whether_a_link_was_opened_and_no_step_is_taken() {
    let home = Home::new();
    let redis = RedisServer::start();
    let service = Server::start(|_| async { cards() }).await.unwrap();
    let keys = home.path("keys.json");
    assert_eq!(run(&["keys", "new", "--first", "--file", keys.to_str().unwrap()]).0, 0);
    let state = format!("directory = \"{}\"", home.path("state").display());
    let shared = format!(
        "backend = \"redis\"\n[state.redis]\naddresses = [\"{}\"]\ntimeout = \"1s\"\n[keyring]\nfile = {keys:?}",
        redis.address()
    );
    let config = home.config(&service.url()).replace(&state, &shared);
    home.write("hookgate.toml", &config);
    let running = home.serve(&config);
    until("it is ready", async || running.health("/readyz").await.unwrap().0 == 200).await;
    let answer = home.call(&home.http().build().unwrap()).await.unwrap();
    let cards: Value = answer.json().await.unwrap();
    let text = |place: &str| cards.pointer(place).unwrap().as_str().unwrap().to_owned();
    let (link, id) = (text("/cards/0/links/0/url"), text("/cards/0/uuid"));

    let steps = || {
        let words = [
            "EVAL",
            "local n = 0 for t = 0, 63 do n = n + (redis.call('HGET', \
            'hookgate:v1:{hg' .. t .. '}:history', 'steps') or 0) end return n",
            "0",
        ];
        redis.command(&words)
    };
    // On a machine that stands still Redis answers late: it is asked again.
    let ask = |what: &str, text: &str| {
        let mut said = (0, String::new(), String::new());
        for _ in 0..60 {
            said = explain(&home, text, &[what]);
            if !said.1.contains("the store does not answer") {
                return (said.0, said.1);
            }
        }
        panic!("it never answered: {said:?}")
    };
    let before = steps();
    assert_ne!(before, "0", "the histories are where they are looked for");
    let (code, out) = ask("link", &link);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("it was not opened yet"), "{out}");
    let (code, out) = ask("id", &id);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("ok    mac       holds") && out.contains("ok    record"), "{out}");
    assert_eq!(steps(), before, "looking is no step");

    assert_eq!(home.click(&link).await, 303);
    let (code, out) = ask("link", &link);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("\nrefused: link-spent (410 link-gone)"), "{out}");
    let mut forged = id.clone();
    forged.replace_range(35.., if id.ends_with('0') { "1" } else { "0" });
    let (code, out) = ask("id", &forged);
    assert_eq!(code, 1);
    assert!(out.contains("refused: id-forged (410 id-gone)"), "{out}");
    redis.flush();
    let (code, out) = ask("link", &link);
    assert!(code == 0 || out.contains("refused: link-forgotten"), "{out}");
    assert!(out.contains("holds nothing of any gateway yet") || code == 1, "{out}");
}

const MADE: &str = "2026-11-26T08:00:00Z";

/// What the transcripts are about: the same configuration, token, key file, link and id in every run.
fn stage(folder: &Path, config: &str) {
    let at =
        UnixTime::from_secs(MADE.parse::<jiff::Timestamp>().unwrap().as_second().unsigned_abs());
    let (clock, entropy) = (ManualClock::new(at), Arc::new(SeededEntropy::new(7)));
    std::fs::write(folder.join("hookgate.toml"), config).unwrap();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/jwks");
    for (from, to) in [
        ("cds-hooks-spec-example.jwks.json", "ehr.jwks"),
        ("cds-hooks-spec-example.jwt", "token.jwt"),
    ] {
        std::fs::copy(data.join(from), folder.join(to)).unwrap();
    }
    let day = Duration::from_secs(86_400);
    let ring = Keyring::load_or_create(&folder.join("keys.json"), day, entropy.as_ref(), &clock);
    let keyring = Arc::new(LiveKeyring::new(ring.unwrap(), at));
    let binding = Binding {
        client: ClientId::new("epic-prod").unwrap(),
        tenant: None,
        service: ServiceId::new("greeting").unwrap(),
        hook_instance: HookInstance("9dc2d645-66ea-41ae-a931-660c96b23cca".parse().unwrap()),
    };
    let public_url = "https://cds.example.org".parse().unwrap();
    let history = Incarnation { mark: [7; 8], since: at };
    let names = KnownNames::new([binding.client.clone()], []).unwrap();
    let links = LinkTokens::new(Arc::clone(&keyring), &public_url, names, entropy.clone());
    let hour = at.plus(Duration::from_secs(3600));
    let sealed = links.seal(&binding, 0, "https://app.example/?session=4711", hour, history);
    std::fs::write(folder.join("link"), sealed.unwrap().url).unwrap();
    let ids = CardIds::new(keyring, &public_url, entropy);
    let issued = ids.issue(&binding, &[(Kind::Card, "card-1")], at.plus(day), history).unwrap();
    std::fs::write(folder.join("id"), &issued.substitutes[0]).unwrap();
}

#[test]
fn the_transcripts_in_the_docs_are_what_it_prints() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/explain.md");
    let text = std::fs::read_to_string(docs).unwrap();
    let block = |kind: &str| {
        let opening = format!("```{kind}\n");
        let parts = text.split(&opening).skip(1);
        parts.map(|part| part.split("```").next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let folder = tempfile::tempdir().unwrap();
    stage(folder.path(), &block("toml")[0]);
    let transcripts = block("console");
    assert!(transcripts.len() > 3, "{transcripts:?}");
    let mut wrong = Vec::new();
    for transcript in transcripts {
        let (command, expected) = transcript.split_once('\n').unwrap();
        let (command, input) = command.split_once(" < ").unwrap_or((command, ""));
        let words: Vec<&str> = command.strip_prefix("$ hookgate ").unwrap().split(' ').collect();
        let mut program = hookgate(&words);
        if !input.is_empty() {
            program.stdin(std::fs::File::open(folder.path().join(input)).unwrap());
        }
        let (_, out, complaint) = said(program.current_dir(folder.path()).output().unwrap());
        if out != expected {
            wrong.push(format!("$ {command}\n{out}{complaint}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
