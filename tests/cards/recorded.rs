//! Requests and answers as real clients and services sent them.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use hookgate::clock::UnixTime;
use hookgate::gateway::cards::answer::{Cards, IdEdits};
use hookgate::gateway::cards::plan::{Counts, IdKind};
use hookgate::gateway::cards::policy::{Policy, Treatment};
use hookgate::gateway::cards::read::CardsError;
use hookgate::gateway::inspect::bases::{FhirBase, Reason};
use hookgate::gateway::inspect::policy::{Mode, Policy as FhirPolicy, Settings};
use hookgate::gateway::inspect::request::{Finding, InspectError, Place, inspect};
use hookgate::gateway::outcomes::{IdPlace, Outcomes};
use serde_json::Value;

fn folder(name: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn read(folder_name: &str, file: &str) -> String {
    let found = folder(folder_name).into_iter().find(|path| path.ends_with(file));
    fs::read_to_string(found.unwrap_or_else(|| panic!("{file} is missing"))).unwrap()
}

fn unpacked(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    if path.extension().is_some_and(|ending| ending == "gz") {
        let mut plain = Vec::new();
        GzDecoder::new(&bytes[..]).read_to_end(&mut plain).unwrap();
        return plain;
    }
    bytes
}

#[test]
fn every_request_says_what_it_says() {
    let mut met = 0;
    for path in folder("requests") {
        let body = unpacked(&path);
        let tree: Value = serde_json::from_slice(&body).unwrap();
        let with = |server: &str, mode| {
            let settings = Settings {
                fhir_servers: vec![FhirBase::new(server).unwrap()],
                fhir_server_check: Some(mode),
            };
            inspect(&body, &FhirPolicy::new(settings).unwrap())
        };
        let Some(server) = tree.get("fhirServer").and_then(Value::as_str) else {
            assert_eq!(
                inspect(&body, &FhirPolicy::new(Settings::default()).unwrap()),
                Err(InspectError::Missing("hook"))
            );
            continue;
        };
        met += 1;
        let read = with(server, Mode::Enforce).unwrap();
        assert_eq!(read.hook(), tree["hook"]);
        assert_eq!(read.hook_instance().to_string(), tree["hookInstance"].as_str().unwrap());
        assert_eq!(read.fhir_server(), Some(server));
        assert_eq!(read.patient_id(), tree["context"]["patientId"].as_str());
        assert_eq!(read.has_fhir_authorization(), tree.get("fhirAuthorization").is_some());
        assert!(read.observed().is_empty());
        let finding = Finding { place: Place::FhirServer, reason: Reason::Unregistered };
        let other = "https://ehr.example/fhir";
        assert_eq!(with(other, Mode::Enforce), Err(InspectError::Forbidden(finding)));
        assert_eq!(with(other, Mode::Observe).unwrap().observed(), [finding]);
    }
    assert_eq!(met, 4);
}

#[test]
fn every_feedback_is_mapped_back() {
    for (file, suggestions) in
        [("sandbox-feedback-overridden.json", 0), ("sandbox2024-feedback-accepted.json", 1)]
    {
        let body = read("requests", file);
        let outcomes = Outcomes::read(body.as_bytes()).unwrap();
        let [entry] = outcomes.entries() else { panic!("{file}: one entry") };
        assert_eq!(entry.suggestions().len(), suggestions);
        let mut wanted = body.replace(entry.card(), "the card");
        for id in entry.suggestions() {
            wanted = wanted.replace(id, "the suggestion");
        }
        let out = outcomes.render(&[0], |_, place| match place {
            IdPlace::Card => Some("the card"),
            IdPlace::Suggestion(_) => Some("the suggestion"),
        });
        assert_eq!(out, wanted);
    }
}

/// Renders with `link N` and `id N`, not announcing anything.
fn rendered(body: &str, policy: &Policy) -> String {
    let cards = Cards::read(body.as_bytes(), policy).unwrap();
    let links: Vec<String> = (0..cards.links().len()).map(|n| format!("link {n}")).collect();
    let ids: Vec<String> = (0..cards.ids().len()).map(|n| format!("id {n}")).collect();
    let out = cards.render(&links, IdEdits::Replace(&ids), None).unwrap();
    String::from_utf8(out.to_vec()).unwrap()
}

#[test]
fn every_answer_is_replaced_where_a_search_for_the_texts_would() {
    for (file, replaced, counts) in [
        (
            "berther-patient-education-markdown-links.body",
            &[][..],
            Counts { cards: 1, source_urls: 1, detail_links: 4, ..Counts::default() },
        ),
        (
            "cerner-patient-view-texthtml-absolute-link.body",
            &[("https://cds-hooks.org", "link 0")],
            Counts { cards: 1, rewritten: 1, source_urls: 1, ..Counts::default() },
        ),
        (
            "sbx-pama-smart-link-appcontext-systemactions.body",
            &[("7cdad318-9995-40b9-b5c7-e0caf1656146", "id 0")],
            Counts { cards: 1, smart_kept: 1, ..Counts::default() },
        ),
        (
            "sbx-price-check-suggestion.body",
            &[
                ("aecb8556-d78c-405f-a48c-f1fcf79cc0a6", "id 0"),
                ("bd37e682-4110-44be-b4b7-cf28d7ea258f", "id 1"),
            ],
            Counts { cards: 1, ..Counts::default() },
        ),
    ] {
        let body = read("responses", file);
        let wanted = replaced.iter().fold(body.clone(), |text, (from, to)| text.replace(from, to));
        assert_eq!(rendered(&body, &Policy::default()), wanted, "{file}");
        let cards = Cards::read(body.as_bytes(), &Policy::default()).unwrap();
        assert_eq!(cards.counts(), counts, "{file}");
        assert_eq!(cards.is_untouched(IdEdits::Remove), replaced.is_empty(), "{file}");
    }
}

#[test]
fn what_is_no_cards_answer_is_refused() {
    let policy = Policy::default();
    for (file, error) in [
        ("sbx-discovery.body", Some(CardsError::NotCards)),
        ("cerner-500-stacktrace-html.body", None),
    ] {
        let refused = Cards::read(read("responses", file).as_bytes(), &policy).err().unwrap();
        match error {
            Some(error) => assert_eq!(refused, error),
            None => assert!(matches!(refused, CardsError::Json(_))),
        }
    }
}

#[test]
fn a_smart_link_is_replaced_on_request_only_and_its_place_is_known() {
    let body = read("responses", "sbx-pama-smart-link-appcontext-systemactions.body");
    let policy = Policy { rewrite_smart: true, ..Policy::default() };
    let cards = Cards::read(body.as_bytes(), &policy).unwrap();
    let [site] = cards.links() else { panic!("one link") };
    assert_eq!((site.card, site.link), (0, 0));
    assert_eq!(site.target, "https://cds-hooks.github.io/pama-demo-app/");
    let [id] = cards.ids() else { panic!("one id") };
    assert_eq!((id.kind, id.card), (IdKind::Card, 0));
    let wanted = body
        .replace("https://cds-hooks.github.io/pama-demo-app/", "link 0")
        .replace("7cdad318-9995-40b9-b5c7-e0caf1656146", "id 0");
    assert_eq!(rendered(&body, &policy), wanted);
}

#[test]
fn an_announcement_is_the_last_member_of_link_and_card() {
    let body = read("responses", "cerner-patient-view-texthtml-absolute-link.body");
    let cards = Cards::read(body.as_bytes(), &Policy::default()).unwrap();
    let expiry = Some(UnixTime::from_secs(1_795_458_491));
    let out = cards.render(&["link".to_owned()], IdEdits::Keep, expiry).unwrap();
    let told = r#","extension":{"org.hookgate":{"expiresAt":"2026-11-23T18:28:11Z","uses":1}}"#;
    let wanted = body
        .replace("https://cds-hooks.org", "link")
        .replace("\"absolute\"", &format!("\"absolute\"{told}"))
        .replace("}\n      ]\n", &format!("}}\n      ]{told}\n"));
    assert_eq!(out, wanted);
}

#[test]
fn source_and_detail_lose_their_links_on_request() {
    let body = read("responses", "berther-patient-education-markdown-links.body");
    let policy = Policy {
        source_url: Treatment::Strip,
        detail_links: Treatment::Strip,
        ..Policy::default()
    };
    let out = rendered(&body, &policy);
    let mut wanted = body.replace(r#","url":"http://www.healthwise.org""#, "");
    for id in ["confu", "hw136623", "uf4984", "ty7566"] {
        let address = format!(
            "(https://www.healthwise.net/hworg/Content/StdDocument.aspx?DOCHWID={id}&f=br549)"
        );
        wanted = wanted.replace(&address, "");
    }
    let wanted = wanted.replace("* [", "* ").replace("]\\n", "\\n").replace("],\\n", ",\\n");
    assert_eq!(out, wanted);
}
