//! What is written, what happens when nothing can be, and what FHIR says an AuditEvent is.
#[cfg(test)]
use super::*;

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use serde_json::Value;

use crate::clock::{ManualClock, UnixTime};
use crate::entropy::SeededEntropy;
use crate::names::{ClientId, RequestId, ServiceId};

const NOW: UnixTime = UnixTime::from_millis(1_795_456_800_123);

fn open(settings: &Settings) -> Audit {
    let clock = Arc::new(ManualClock::new(NOW));
    Audit::open(settings, clock, &SeededEntropy::new(1), Metrics::default()).unwrap()
}

fn to(path: &Path) -> Settings {
    Settings { file: Some(path.to_owned()), ..Settings::default() }
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn about() -> About {
    About {
        request: RequestId::new(NOW, &SeededEntropy::new(2)).unwrap(),
        trace: None,
        address: IpAddr::from([192, 0, 2, 1]),
        way: "hook",
        status: 200,
        client: Some(ClientId::new("ehr").unwrap()),
        tenant: None,
        service: Some(ServiceId::new("patient-greeting").unwrap()),
        hook_instance: None,
        observed: Vec::new(),
    }
}

fn every_event() -> Vec<Event> {
    let (link, id, until) = (Print::of(b"link"), Print::of(b"id"), NOW);
    let all = [
        What::CallAccepted,
        What::CallRefused,
        What::TokenReplayed,
        What::RateLimited,
        What::FhirServerRefused,
        What::LinkMinted { link, until },
        What::LinkOpened { link: Some(link), again: true },
        What::LinkRefused { link: None },
        What::IdUsed { id },
        What::IdRefused { id },
        What::KeysTaken,
        What::KeysRefused,
        What::KeyFileTaken,
        What::KeyFileRefused,
        What::ConfigTaken,
        What::ConfigRefused,
        What::AdminAction { action: "fetch-keys", done: true },
        What::Started,
        What::Stopped,
        What::EventsLost(7),
    ];
    all.map(Event::new).into()
}

#[tokio::test]
async fn each_event_is_a_line_and_the_numbers_have_no_gap() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit");
    let audit = open(&to(&path));
    audit.note(Event::new(What::Started));
    audit.note_all(about(), every_event()).await.unwrap();
    audit.note(Event::new(What::ConfigRefused).because("config").detail("it says \"no\"\n"));
    audit.close().await;
    let lines = lines(&path);
    assert_eq!(lines.len(), 22);
    for (number, line) in (1..).zip(&lines) {
        assert_eq!(line["number"], number);
        assert_eq!(line["time"], "2026-11-23T18:00:00.123Z");
        assert_eq!(line["run"], lines[0]["run"]);
    }
    let words: BTreeSet<&str> = lines.iter().map(|l| l["event"].as_str().unwrap()).collect();
    assert_eq!(words.len(), every_event().len());
    assert_eq!(lines[1]["client"], "ehr");
    assert_eq!(lines[1]["service"], "patient-greeting");
    assert_eq!(lines[6]["link"], Print::of(b"link").to_string());
    assert_eq!(lines[6]["until"], "2026-11-23T18:00:00Z");
    assert_eq!(lines[21]["detail"], "it says \"no\"\n");
    assert_eq!(lines[21]["client"], Value::Null);
}

/// The elements that R4 requires, and the codes of its required value sets. What is meant and what the value sets
/// say is in <https://hl7.org/fhir/R4/auditevent.html>.
#[tokio::test]
async fn each_event_is_an_audit_event_of_fhir_r4() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit");
    let audit = open(&Settings { format: Format::Fhir, ..to(&path) });
    let mut events = every_event();
    events[1] = events[1].clone().because("audience").detail("sent \"x\", expected \"y\"");
    audit.note_all(about(), events).await.unwrap();
    audit.note(Event::new(What::Stopped));
    audit.close().await;
    let lines = lines(&path);
    assert_eq!(lines.len(), 21);
    for event in &lines {
        assert_eq!(event["resourceType"], "AuditEvent");
        let kind = &event["type"];
        assert!(is_coding(kind), "{event}");
        let of_the_value_set = ["rest", "110100", "110101", "110112", "110113", "110114"];
        assert!(of_the_value_set.contains(&kind["code"].as_str().unwrap()), "{kind}");
        assert!(event["subtype"].as_array().unwrap().iter().all(is_coding), "{event}");
        assert!(["C", "R", "U", "D", "E"].contains(&event["action"].as_str().unwrap()));
        assert!(["0", "4", "8", "12"].contains(&event["outcome"].as_str().unwrap()));
        let recorded = event["recorded"].as_str().unwrap();
        assert!(recorded.len() == 24 && recorded.ends_with('Z'), "{recorded}");
        for agent in event["agent"].as_array().filter(|all| !all.is_empty()).unwrap() {
            assert!(agent["requestor"].is_boolean(), "{agent}");
            if let Some(network) = agent.get("network") {
                assert!(["1", "2", "3", "4", "5"].contains(&network["type"].as_str().unwrap()));
            }
        }
        let observer = &event["source"]["observer"];
        assert!(observer["display"].is_string() && observer["identifier"]["value"].is_string());
        for entity in event["entity"].as_array().unwrap() {
            // sev-1: either a name or a query.
            assert!(entity["name"].is_string() && entity.get("query").is_none(), "{entity}");
            for detail in entity["detail"].as_array().unwrap() {
                let (name, value) = (&detail["type"], &detail["valueString"]);
                for text in [name, value] {
                    assert!(text.as_str().is_some_and(|text| !text.trim().is_empty()), "{detail}");
                }
            }
        }
        no_nulls_and_nothing_empty(event);
    }
    assert_eq!(lines[1]["outcomeDesc"], "audience: sent \"x\", expected \"y\"");
    assert_eq!(lines[1]["outcome"], "4");
    assert_eq!(lines[20]["agent"][0]["requestor"], false);
}

fn is_coding(value: &Value) -> bool {
    let uri = value["system"].as_str().is_some_and(|system| system.contains(':'));
    uri && value["code"].as_str().is_some_and(|code| !code.is_empty() && !code.contains(' '))
}

/// FHIR's JSON has neither.
fn no_nulls_and_nothing_empty(value: &Value) {
    match value {
        Value::Null => panic!("null"),
        Value::String(text) => assert!(!text.is_empty()),
        Value::Array(all) => {
            assert!(!all.is_empty());
            all.iter().for_each(no_nulls_and_nothing_empty);
        }
        Value::Object(all) => {
            assert!(!all.is_empty());
            all.values().for_each(no_nulls_and_nothing_empty);
        }
        Value::Bool(_) | Value::Number(_) => {}
    }
}

#[tokio::test]
async fn what_has_to_be_written_is_written_before_the_answer_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let sub = folder.path().join("logs");
    fs::create_dir(&sub).unwrap();
    let path = sub.join("audit");
    let audit = open(&Settings { required: true, ..to(&path) });
    audit.note_all(about(), vec![Event::new(What::CallAccepted)]).await.unwrap();
    assert_eq!(lines(&path).len(), 1);
    assert_eq!((audit.ready(), audit.trouble()), (Ok(()), None));

    // The folder is gone, so that the file cannot be made anew.
    let away = folder.path().join("away");
    fs::rename(&sub, &away).unwrap();
    let refused = audit.note_all(about(), vec![Event::new(What::CallRefused)]).await;
    assert_eq!(refused, Err(Unaudited));
    assert_eq!(audit.ready(), Err(Unaudited));
    let (said, deciding) = audit.trouble().unwrap();
    assert!(said.starts_with("audit: ") && deciding, "{said}");

    // It is tried again by itself, and nothing that was decided is missing.
    fs::rename(&away, &sub).unwrap();
    for _ in 0..3000 {
        if audit.ready().is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(audit.trouble(), None);
    audit.close().await;
    let words: Vec<Value> = lines(&path).into_iter().map(|line| line["event"].clone()).collect();
    assert_eq!(words, ["call-accepted", "call-refused"]);
}

#[tokio::test]
async fn what_need_not_be_written_keeps_nobody_and_what_is_lost_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let sub = folder.path().join("logs");
    fs::create_dir(&sub).unwrap();
    let path = sub.join("audit");
    let metrics = Metrics::default();
    let clock = Arc::new(ManualClock::new(NOW));
    let audit = Audit::open(&to(&path), clock, &SeededEntropy::new(1), metrics.clone()).unwrap();
    fs::rename(&sub, folder.path().join("away")).unwrap();
    let long = "x".repeat(64 * 1024);
    for _ in 0..100 {
        audit.note(Event::new(What::ConfigTaken).detail(long.clone()));
        audit.note_all(about(), vec![Event::new(What::CallAccepted)]).await.unwrap();
    }
    for _ in 0..3000 {
        if audit.trouble().is_some() && metrics.trouble.get() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(audit.ready(), Ok(()));
    assert!(!audit.trouble().unwrap().1);
    fs::create_dir(&sub).unwrap();
    for _ in 0..3000 {
        if audit.trouble().is_none() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    audit.note(Event::new(What::Stopped));
    audit.close().await;
    let lines = lines(&path);
    let told = lines.iter().find(|line| line["event"] == "events-lost").unwrap();
    let lost = told["events"].as_u64().unwrap();
    assert!((1..200).contains(&lost), "{lost}");
    assert_eq!(u64::try_from(lines.len()).unwrap(), 200 - lost + 2);
    assert_eq!(lines.last().unwrap()["event"], "stopped");
}

#[tokio::test]
async fn nothing_is_written_where_nothing_is_named() {
    let audit = open(&Settings::default());
    assert!(!audit.is_on());
    audit.note(Event::new(What::Started));
    audit.note_all(about(), every_event()).await.unwrap();
    audit.close().await;
    assert_eq!((audit.ready(), audit.trouble()), (Ok(()), None));
}

#[test]
fn settings_that_contradict_themselves_are_refused() {
    let file = Some("/tmp/audit".into());
    let both = Settings { file, stdout: true, ..Settings::default() };
    assert!(matches!(both.check(), Err(AuditError::TwoPlaces)));
    let nowhere = Settings { required: true, ..Settings::default() };
    assert!(matches!(Audit::check(&nowhere), Err(AuditError::NoPlace)));
}
