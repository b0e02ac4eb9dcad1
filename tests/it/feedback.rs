//! Feedback: to the service with its own ids, once, and only from who was given the cards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hookgate::config::Config;
use hookgate::demo::server::{answer, json};
use hookgate::entropy::SystemEntropy;
use hookgate::keyring::{KeyFileWriter, Life, Wanted};
use hookgate::store::Store;
use http::Method;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::harness::{
    Arrival, Ehr, Extra, HOOK_INSTANCE, Line, NO_LIMITS, SERVICE, Scene, Trouble, hook_body_of,
    outcome, refused, refused_as, status,
};
use crate::port::free_port;
use crate::server::RedisServer;

const ONE: &str = HOOK_INSTANCE;
const TWO: &str = "11111111-2222-4333-8444-555555555555";
const THREE: &str = "aaaaaaaa-bbbb-4ccc-9ddd-eeeeeeeeeeee";
const LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// The unit in which an id's expiry is written.
const SLOT: Duration = Duration::from_secs(600);

fn unlimited() -> Extra {
    Extra { tables: NO_LIMITS.to_owned(), ..Extra::default() }
}

fn on_disk() -> Extra {
    Extra { disk: true, ..unlimited() }
}

/// Ids live for so long.
fn living(lifetime: &str, disk: bool) -> Extra {
    let lists = format!("[[service]]\nid = \"*\"\n[service.feedback]\nlifetime = \"{lifetime}\"\n");
    Extra { lists, disk, ..unlimited() }
}

/// The scene whose service takes reports with an empty 200.
async fn taking(extra: &Extra) -> Scene {
    let scene = Scene::new(extra).await;
    scene.answers_reports(|_| status(200));
    scene
}

fn body_of(entries: &[String]) -> String {
    format!("{{\"feedback\":[{}]}}", entries.join(","))
}

fn overridden(card: &str) -> String {
    format!(
        r#"{{"card":"{card}","outcome":"overridden","outcomeTimestamp":"2026-11-23T18:00:05Z"}}"#
    )
}

fn accepted(card: &str, suggestions: &[&str]) -> String {
    let ids: Vec<String> = suggestions.iter().map(|id| format!(r#"{{"id":"{id}"}}"#)).collect();
    let ids = ids.join(",");
    format!(r#"{{"card":"{card}","outcome":"accepted","acceptedSuggestions":[{ids}]}}"#)
}

fn instance(arrival: &Arrival) -> &str {
    arrival.headers["x-hookgate-hook-instance"].to_str().unwrap()
}

/// The answer to what was taken says so, and nothing else.
async fn taken(response: reqwest::Response) {
    assert_eq!(response.status(), 200);
    assert_eq!(response.text().await.unwrap(), "");
}

// Mapped back.

#[tokio::test]
async fn feedback_reaches_the_service_with_its_own_ids() {
    let scene = taking(&unlimited()).await;
    let ids = scene.ids_of(TWO).await;
    let entry = accepted(&ids.card, &[&ids.suggestions[1], &ids.suggestions[0]]);
    taken(scene.report(body_of(&[entry])).await).await;
    let reports = scene.reports();
    assert_eq!(reports.len(), 1);
    let [report] = &reports[..] else { panic!() };
    assert_eq!(report.method, Method::POST);
    assert_eq!(report.target, format!("/cds-services/{SERVICE}/feedback"));
    let entry = accepted("card-1", &["suggestion-2", "suggestion-1"]);
    assert_eq!(report.body, body_of(&[entry]));
    assert_eq!(instance(report), TWO);
    assert_eq!(report.headers["x-hookgate-client"], "ehr");
    assert_eq!(report.headers["content-type"], "application/json");
    assert!(!report.headers.contains_key("authorization"));
}

#[tokio::test]
async fn every_byte_that_is_no_id_stays() {
    let scene = taking(&unlimited()).await;
    let ids = scene.ids_of(ONE).await;
    let written = |card: &str, suggestion: &str| {
        format!(
            "{{ \"version\" : 1.50e+1,\n \"feedback\":\t[ {{\"unknown\":{{\"card\":\"{0}\"}}, \
             \"overrideReason\":{{\"reason\":{{\"code\":\"\\u0041\\/b\",\"n\":0.10}},\"userComment\":\"\u{e4} \
             {0}\"}},\"card\"  :\"{0}\", \"acceptedSuggestions\":[{{\"x\":null,\"id\":\"{1}\"}}],\
             \"outcome\":\"overridden\"}} ]\r\n, \"more\":[{{\"card\":\"{0}\"}}]}} \n",
            card, suggestion
        )
    };
    // Only where the standard has an id is it one.
    let report = written(&ids.card, &ids.suggestions[0]);
    let expected = report
        .replace(&format!("\"card\"  :\"{}\"", ids.card), "\"card\"  :\"card-1\"")
        .replace(&ids.suggestions[0], "suggestion-1");
    assert_eq!(expected.matches("card-1").count(), 1);
    taken(scene.report(report).await).await;
    assert_eq!(scene.reports()[0].body, expected);
}

#[tokio::test]
async fn ids_are_the_same_however_they_are_spelled() {
    let scene = taking(&unlimited()).await;
    let spellings: [fn(&str) -> String; 3] = [
        str::to_uppercase,
        |id| format!("urn:uuid:{id}"),
        |id| format!("\\u00{:02x}{}", id.as_bytes()[0], &id[1..]),
    ];
    for (number, spell) in spellings.iter().enumerate() {
        let spelling = spell(&scene.ids_of(ONE).await.card);
        taken(scene.report(body_of(&[overridden(&spelling)])).await).await;
        assert_eq!(scene.reports()[number].body, body_of(&[overridden("card-1")]), "{spelling}");
    }
}

#[tokio::test]
async fn a_batch_goes_out_by_hook_instance() {
    let scene = taking(&unlimited()).await;
    let (one, two, three) =
        (scene.ids_of(ONE).await, scene.ids_of(TWO).await, scene.ids_of(THREE).await);
    let batch = format!(
        "{{\"a\": 1.0, \"feedback\": [{},\n {},\t{} ,{}, {}], \"z\": [ ]}}",
        overridden(&one.card),
        accepted(&two.card, &[&two.suggestions[0]]),
        overridden(&three.card),
        accepted(&one.card, &[&one.suggestions[1]]),
        overridden(&two.card),
    );
    taken(scene.report(batch).await).await;
    let mut reports = scene.reports();
    reports.sort_by_key(|report| [ONE, TWO, THREE].iter().position(|i| *i == instance(report)));
    let found: Vec<(&str, Value)> = reports
        .iter()
        .map(|report| (instance(report), serde_json::from_slice(&report.body).unwrap()))
        .collect();
    let expected = [
        (ONE, [overridden("card-1"), accepted("card-1", &["suggestion-2"])].to_vec()),
        (TWO, [accepted("card-1", &["suggestion-1"]), overridden("card-1")].to_vec()),
        (THREE, [overridden("card-1")].to_vec()),
    ];
    assert_eq!(found.len(), expected.len());
    for ((found, body), (instance, entries)) in found.into_iter().zip(expected) {
        assert_eq!(found, instance);
        let entries: Value = serde_json::from_str(&format!("[{}]", entries.join(","))).unwrap();
        assert_eq!(body, serde_json::json!({"a": 1.0, "feedback": entries, "z": []}));
    }
    // The frame of each is that of the batch, byte for byte.
    for report in &reports {
        let text = std::str::from_utf8(&report.body).unwrap();
        assert!(text.starts_with("{\"a\": 1.0, \"feedback\": ["), "{text}");
        assert!(text.ends_with("], \"z\": [ ]}"), "{text}");
    }
}

// Once.

#[tokio::test]
async fn an_identical_repeat_gets_the_same_answer_and_is_not_delivered() {
    for code in [200, 201, 202, 204] {
        let scene = Scene::new(&on_disk()).await;
        scene.answers_reports(move |_| status(code));
        let ids = scene.ids_of(ONE).await;
        let entry = accepted(&ids.card, &[&ids.suggestions[0]]);
        let laid_out = format!(
            "{{ \"feedback\" : [\n  {}\n] }}\n",
            entry.replace(':', " :\t").replace(',', " ,\r\n")
        );
        let plain = body_of(&[entry]);
        for body in [plain.clone(), plain.clone(), laid_out, plain] {
            let response = scene.report(body).await;
            assert_eq!(response.status(), code);
            assert_eq!(response.text().await.unwrap(), "");
            assert_eq!(scene.reports().len(), 1);
        }
    }
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer_also_where_services_answered_differently() {
    let scene = Scene::new(&unlimited()).await;
    scene.answers_reports(|report| status(if instance(report) == ONE { 201 } else { 204 }));
    let (one, two) = (scene.ids_of(ONE).await, scene.ids_of(TWO).await);
    let (first, second) = (overridden(&one.card), overridden(&two.card));
    let late = accepted(&one.card, &[]);
    // Whatever has been delivered before and wherever it stands, the first entry's answer is everybody's.
    let batches = [
        vec![first.clone(), second.clone(), late.clone()],
        vec![second.clone(), accepted(&two.card, &[]), first.clone()],
        vec![overridden(&scene.ids_of(ONE).await.card), second, first],
    ];
    for batch in batches {
        let body = body_of(&batch);
        let answer = scene.report(body.clone()).await.status();
        let delivered = scene.reports().len();
        assert_eq!(scene.report(body).await.status(), answer);
        assert_eq!(scene.reports().len(), delivered);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_twenty_identical_calls_at_once_one_is_delivered() {
    // More entries than are claimed together: nobody keeps what another one needs to go on.
    let redis = RedisServer::start();
    let on_redis = Extra { redis: Some(redis.address()), ..unlimited() };
    for (extra, entries) in [(unlimited(), 1), (on_disk(), 1), (on_redis, 200)] {
        let scene = taking(&extra).await;
        scene.until_pending(&[]).await;
        let ids = scene.ids_of(ONE).await;
        let url = scene.feedback();
        let entry = |n| overridden(&ids.card).replace("18:00:05Z", &format!("18:00:05.{n:03}Z"));
        let body = body_of(&(0..entries).map(entry).collect::<Vec<_>>());
        let mut calls = JoinSet::new();
        for _ in 0..20 {
            let call = scene.http().post(&url).bearer_auth(scene.token(&url));
            let call = call.header("content-type", "application/json").body(body.clone());
            calls.spawn(async move { call.send().await.unwrap() });
        }
        let mut first = 0;
        for response in calls.join_all().await {
            if response.status() == 200 {
                first += 1;
            } else {
                // Who came while it was under way is told to ask again.
                assert_eq!(response.headers()["retry-after"], "1");
                refused_as(response, 503, "overloaded").await;
            }
        }
        assert!(first > 0);
        assert_eq!(scene.reports().len(), 1);
        taken(scene.report(body).await).await;
        assert_eq!(scene.reports().len(), 1);
    }
}

#[tokio::test]
async fn an_entry_that_a_batch_has_twice_is_delivered_once() {
    let scene = taking(&unlimited()).await;
    let (one, two) = (scene.ids_of(ONE).await, scene.ids_of(TWO).await);
    let (first, second) = (overridden(&one.card), overridden(&two.card));
    let body = body_of(&[first.clone(), second, first.replace("\":", "\": "), first]);
    taken(scene.report(body.clone()).await).await;
    taken(scene.report(body).await).await;
    let bodies: Vec<_> = scene.reports().into_iter().map(|report| report.body).collect();
    assert_eq!(bodies.len(), 2);
    assert!(bodies.iter().all(|body| *body == body_of(&[overridden("card-1")])), "{bodies:?}");
}

#[tokio::test]
async fn a_new_outcome_for_the_same_card_is_delivered() {
    let scene = taking(&unlimited()).await;
    let ids = scene.ids_of(ONE).await;
    let outcomes = [
        (overridden(&ids.card), overridden("card-1")),
        (accepted(&ids.card, &[&ids.suggestions[0]]), accepted("card-1", &["suggestion-1"])),
        (accepted(&ids.card, &[&ids.suggestions[1]]), accepted("card-1", &["suggestion-2"])),
        (
            overridden(&ids.card).replace("18:00:05", "18:00:06"),
            overridden("card-1").replace("18:00:05", "18:00:06"),
        ),
    ];
    let mut so_far = Vec::new();
    for (number, (outcome, expected)) in outcomes.iter().enumerate() {
        so_far.push(outcome.clone());
        // The EHR sends all that it has, and the service gets what is new.
        taken(scene.report(body_of(&so_far)).await).await;
        let reports = scene.reports();
        assert_eq!(reports.len(), number + 1);
        assert_eq!(reports[number].body, body_of(std::slice::from_ref(expected)));
    }
}

#[tokio::test]
async fn the_same_outcome_for_another_card_is_another_one() {
    let scene = taking(&unlimited()).await;
    for number in 1..=3 {
        // The same hookInstance, as one public client sends it: never a key.
        let ids = scene.ids_of(ONE).await;
        taken(scene.report(body_of(&[overridden(&ids.card)])).await).await;
        assert_eq!(scene.reports().len(), number);
    }
}

#[tokio::test]
async fn no_entries_are_nothing_to_deliver() {
    let scene = taking(&unlimited()).await;
    taken(scene.report(r#"{"feedback": []}"#).await).await;
    assert!(scene.reports().is_empty());
}

// Whose ids they are.

#[tokio::test]
async fn ids_of_another_client_are_unknown() {
    let other = Ehr::new("other");
    let scene = taking(&Extra { lists: other.inline(""), ..unlimited() }).await;
    let ids = scene.ids_of(ONE).await;
    let url = scene.feedback();
    let body = body_of(&[overridden(&ids.card)]);
    let response = scene.post_with(&url, &other.token(&scene, &url), body.clone()).await;
    refused_as(response, 410, "id-gone").await;
    assert!(scene.reports().is_empty());
    // What the stranger tried has used nothing up.
    taken(scene.report(body).await).await;
    assert_eq!(scene.reports().len(), 1);
    assert_eq!(scene.refused("feedback", "no-id-known").await, 1);
}

#[tokio::test]
async fn ids_of_another_service_are_unknown() {
    let scene = taking(&unlimited()).await;
    let elsewhere = format!("{}/cds-services/other-service", scene.public_url);
    let ids = scene.ids_at(&elsewhere, ONE).await;
    refused_as(scene.report(body_of(&[overridden(&ids.card)])).await, 410, "id-gone").await;
    let feedback = format!("{elsewhere}/feedback");
    taken(scene.post(&feedback, body_of(&[overridden(&ids.card)])).await).await;
    assert_eq!(scene.reports()[0].target, "/cds-services/other-service/feedback");
}

#[tokio::test]
async fn forged_ids_are_unknown() {
    let scene = taking(&unlimited()).await;
    let ids = scene.ids_of(ONE).await;
    let mut forged = vec![
        "card-1".to_owned(),
        ids.suggestions[0].clone(),
        "00000000-0000-8000-8000-000000000000".to_owned(),
        "9dc2d645-66ea-41ae-a931-660c96b23cca".to_owned(),
        format!("{} ", ids.card),
        ids.card.replace('-', "_"),
    ];
    // Every digit counts: the version and the variant, too.
    for place in (0..ids.card.len()).filter(|place| ids.card.as_bytes()[*place] != b'-') {
        let mut digits = ids.card.clone().into_bytes();
        digits[place] = if digits[place] == b'0' { b'1' } else { b'0' };
        forged.push(String::from_utf8(digits).unwrap());
    }
    for id in forged {
        let response = scene.report(body_of(&[overridden(&id)])).await;
        assert_eq!(response.status(), 410, "{id}");
        refused_as(response, 410, "id-gone").await;
    }
    assert!(scene.reports().is_empty());
    taken(scene.report(body_of(&[overridden(&ids.card)])).await).await;
}

#[tokio::test]
async fn an_entry_with_an_unknown_suggestion_is_unknown_and_the_others_are_delivered() {
    let scene = taking(&unlimited()).await;
    let ids = scene.ids_of(ONE).await;
    let known = accepted(&ids.card, &[&ids.suggestions[0]]);
    for unknown in ["suggestion-1", "00000000-0000-8000-8000-000000000000", &ids.card] {
        let entry = accepted(&ids.card, &[&ids.suggestions[0], unknown]);
        refused_as(scene.report(body_of(&[entry])).await, 410, "id-gone").await;
    }
    assert!(scene.reports().is_empty());
    let mixed = [accepted(&ids.card, &["x"]), known, overridden("x")];
    taken(scene.report(body_of(&mixed)).await).await;
    let reports = scene.reports();
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].body, body_of(&[accepted("card-1", &["suggestion-1"])]));
    let metrics = scene.metrics().await;
    let line = "hookgate_observed_total{way=\"feedback\",reason=\"id-not-ours\"} 4";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn ids_expire_and_what_has_not_is_delivered() {
    let scene = taking(&unlimited()).await;
    let old = scene.ids_of(ONE).await;
    scene.advance(LIFETIME - Duration::from_millis(1));
    taken(scene.report(body_of(&[overridden(&old.card)])).await).await;
    let new = scene.ids_of(TWO).await;
    scene.advance(SLOT);
    let late = accepted(&old.card, &[&old.suggestions[0]]);
    refused_as(scene.report(body_of(std::slice::from_ref(&late))).await, 410, "id-gone").await;
    taken(scene.report(body_of(&[late, overridden(&new.card)])).await).await;
    let reports = scene.reports();
    assert_eq!(reports.len(), 2);
    assert_eq!(instance(&reports[1]), TWO);
    assert_eq!(reports[1].body, body_of(&[overridden("card-1")]));
}

#[tokio::test]
async fn a_store_that_forgot_knows_no_ids_although_their_key_is_held() {
    let mut scene = taking(&on_disk()).await;
    let ids = scene.ids_of(ONE).await;
    scene.stop().await;
    std::fs::remove_file(scene.directory().join("state/state.redb")).unwrap();
    scene.start().await;
    scene.outlast_the_skew();
    refused_as(scene.report(body_of(&[overridden(&ids.card)])).await, 410, "id-gone").await;
    assert!(scene.reports().is_empty());
}

#[tokio::test]
async fn feedback_needs_a_token_and_a_readable_body() {
    let scene = taking(&unlimited()).await;
    let ids = scene.ids_of(ONE).await;
    let url = scene.feedback();
    let bare = scene.http().post(&url).header("content-type", "application/json");
    let response = bare.body(body_of(&[overridden(&ids.card)])).send().await.unwrap();
    refused_as(response, 401, "unauthorized").await;
    for bad in [
        "",
        "[]",
        "{}",
        r#"{"feedback":{}}"#,
        r#"{"feedback":[1]}"#,
        r#"{"feedback":[{}]}"#,
        r#"{"feedback":[{"card":1}]}"#,
        r#"{"feedback":[{"card":""}]}"#,
        r#"{"feedback":[{"card":"x","card":"x"}]}"#,
        r#"{"feedback":[],"feedback":[]}"#,
        r#"{"feedback":[]} x"#,
        r#"{"feedback":[{"card":"x","acceptedSuggestions":[{}]}]}"#,
    ] {
        refused_as(scene.report(bad).await, 400, "malformed").await;
    }
    let not_text = b"{\"feedback\":[{\"card\":\"x\xff\"}]}";
    refused_as(scene.report(&not_text[..]).await, 400, "malformed").await;
    assert!(scene.reports().is_empty());
}

// What this replica cannot read.

/// Two files of one gateway's keys: before a rotation, and after it.
struct KeyFiles {
    before: String,
    after: String,
}

impl KeyFiles {
    fn of(scene: &Scene) -> Self {
        let file = scene.directory().join("state/keys.json");
        let before = std::fs::read_to_string(&file).unwrap();
        let clock = Arc::new(scene.clock.clone());
        let entropy = Arc::new(SystemEntropy::default());
        let writer = KeyFileWriter { file: file.clone(), output: None, clock, entropy };
        let life = Duration::from_secs(31 * 24 * 3600);
        writer.add(&Wanted { sealing: Some(Life::Exactly(life)), signing: None }, life).unwrap();
        writer.rotate(Duration::ZERO).unwrap();
        Self { before, after: std::fs::read_to_string(file).unwrap() }
    }

    /// The gateway with that file.
    async fn restart(scene: &mut Scene, keys: &str) {
        scene.stop().await;
        std::fs::write(scene.directory().join("state/keys.json"), keys).unwrap();
        scene.start().await;
    }
}

/// A replica whose key file is late cannot read what another one issued: that is no fault of the EHR.
#[tokio::test]
async fn what_a_replica_without_the_key_cannot_read_is_delivered_by_the_retry() {
    let unknown_key = outcome(503, "keys-unavailable", "id-unknown-key");
    let mut scene = taking(&on_disk()).await;
    let one = scene.ids_of(ONE).await;
    let files = KeyFiles::of(&scene);
    KeyFiles::restart(&mut scene, &files.after).await;
    let (two, three) = (scene.ids_of(TWO).await, scene.ids_of(THREE).await);
    KeyFiles::restart(&mut scene, &files.before).await;

    let mixed = body_of(&[
        overridden("card-1"),
        overridden(&one.card),
        overridden(&two.card),
        accepted(&one.card, &[&one.suggestions[0], &three.suggestions[0]]),
    ]);
    let alone = body_of(&[overridden(&three.card)]);
    for _ in 0..2 {
        refused(scene.report(mixed.clone()).await, unknown_key, "mixed").await;
        assert_eq!(scene.reports().len(), 1, "what is known is delivered, once");
        assert_eq!(scene.reports()[0].body, body_of(&[overridden("card-1")]));
        refused(scene.report(alone.clone()).await, unknown_key, "alone").await;
    }
    // The service's own complaint about what is known must not end the matter either.
    scene.answers_reports(|_| status(422));
    let complained = body_of(&[accepted(&one.card, &[]), overridden(&two.card)]);
    refused(scene.report(complained).await, unknown_key, "complained").await;
    assert_eq!(scene.reports().len(), 2);
    scene.answers_reports(|_| status(200));

    KeyFiles::restart(&mut scene, &files.after).await;
    for _ in 0..2 {
        taken(scene.report(mixed.clone()).await).await;
        taken(scene.report(alone.clone()).await).await;
        let mut instances: Vec<String> =
            scene.reports()[2..].iter().map(|report| instance(report).to_owned()).collect();
        instances.sort();
        assert_eq!(instances, [TWO, ONE, THREE].map(str::to_owned), "the rest, once");
    }
}

#[tokio::test]
async fn ids_whose_key_is_gone_for_good_expire_as_others_do() {
    let mut scene = taking(&on_disk()).await;
    let files = KeyFiles::of(&scene);
    KeyFiles::restart(&mut scene, &files.after).await;
    let ids = scene.ids_of(ONE).await;
    KeyFiles::restart(&mut scene, &files.before).await;
    let body = body_of(&[overridden(&ids.card)]);
    scene.advance(LIFETIME - Duration::from_secs(1));
    refused_as(scene.report(body.clone()).await, 503, "keys-unavailable").await;
    scene.advance(SLOT);
    refused_as(scene.report(body).await, 410, "id-gone").await;
    assert!(scene.reports().is_empty());
}

/// An authentic id whose record cannot be read is a fault of the store or of its keys.
#[tokio::test]
async fn what_the_store_garbles_is_delivered_by_the_retry() {
    let corrupt = outcome(503, "store", "id-corrupt");
    let scene = taking(&Extra { trouble: Some(Trouble::None), ..unlimited() }).await;
    let ids = scene.ids_of(ONE).await;
    let body = body_of(&[overridden(&ids.card), overridden("card-1")]);
    scene.store().gets(Trouble::Garbled);
    refused(scene.report(body.clone()).await, corrupt, "garbled").await;
    assert!(scene.reports().is_empty());
    scene.store().gets(Trouble::None);
    taken(scene.report(body).await).await;
    assert_eq!(scene.reports().len(), 1);
}

// What fails is not lost.

#[tokio::test]
async fn what_the_service_did_not_take_is_delivered_by_the_retry() {
    let port = free_port();
    let lists = format!(
        "[[upstream]]\nid = \"line\"\nurl = \"http://127.0.0.1:{port}\"\n[[service]]\nid = \"*\"\nupstream = \
         \"line\"\n"
    );
    let scene = Scene::new(&Extra { lists, ..unlimited() }).await;
    let line = Line::join(port, scene.service.address()).await;
    scene.answers_reports(|_| answer(500, "text/html", "Traceback at /srv/app.py".to_owned()));
    let ids = scene.ids_of(ONE).await;
    let body = body_of(&[overridden(&ids.card)]);
    for tried in 1..=2 {
        let response = scene.report(body.clone()).await;
        assert_eq!(response.status(), 500);
        assert!(!response.text().await.unwrap().contains("Traceback"));
        assert_eq!(scene.reports().len(), tried);
    }
    line.cut().await;
    for _ in 0..2 {
        refused_as(scene.report(body.clone()).await, 502, "upstream-unreachable").await;
    }
    assert_eq!(scene.reports().len(), 2);
    let _line = Line::join(port, scene.service.address()).await;
    scene.answers_reports(|_| status(200));
    for _ in 0..2 {
        taken(scene.report(body.clone()).await).await;
        assert_eq!(scene.reports().len(), 3);
    }
}

#[tokio::test]
async fn a_service_that_has_failed_is_left_alone_and_gets_its_reports_later() {
    let scene = Scene::new(&unlimited()).await;
    let ids = scene.ids_of(ONE).await;
    let body = body_of(&[overridden(&ids.card)]);
    scene.answers_reports(|_| status(503));
    for tried in 1..=5 {
        assert_eq!(scene.report(body.clone()).await.status(), 503);
        assert_eq!(scene.reports().len(), tried);
    }
    scene.answers_reports(|_| status(200));
    let response = scene.report(body.clone()).await;
    let pause: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((2..=4).contains(&pause), "{pause}");
    refused(response, outcome(503, "upstream-unavailable", "upstream-open"), "open").await;
    let response = scene.post(&scene.endpoint(), hook_body_of(TWO)).await;
    refused(response, outcome(503, "upstream-unavailable", "upstream-open"), "a hook").await;
    assert_eq!(scene.reports().len(), 5);
    scene.clock.advance(Duration::from_secs(pause));
    for _ in 0..2 {
        taken(scene.report(body.clone()).await).await;
        assert_eq!(scene.reports().len(), 6);
    }
}

#[tokio::test]
async fn after_a_partial_failure_the_retry_brings_only_the_rest() {
    let scene = Scene::new(&on_disk()).await;
    let failing = Arc::new(AtomicBool::new(true));
    let fails = Arc::clone(&failing);
    scene.answers_reports(move |report| {
        let fails = fails.load(Ordering::Relaxed) && instance(report) == TWO;
        status(if fails { 503 } else { 200 })
    });
    let (one, two, three) =
        (scene.ids_of(ONE).await, scene.ids_of(TWO).await, scene.ids_of(THREE).await);
    let body = body_of(&[
        overridden(&one.card),
        overridden(&two.card),
        accepted(&two.card, &[&two.suggestions[0]]),
        overridden(&three.card),
    ]);
    let instances = |scene: &Scene| -> Vec<String> {
        scene.reports().iter().map(|report| instance(report).to_owned()).collect()
    };
    assert_eq!(scene.report(body.clone()).await.status(), 503);
    assert_eq!(instances(&scene), [ONE, TWO, THREE]);
    assert_eq!(scene.report(body.clone()).await.status(), 503);
    assert_eq!(instances(&scene), [ONE, TWO, THREE, TWO]);
    failing.store(false, Ordering::Relaxed);
    taken(scene.report(body.clone()).await).await;
    assert_eq!(instances(&scene), [ONE, TWO, THREE, TWO, TWO]);
    let rest = [overridden("card-1"), accepted("card-1", &["suggestion-1"])];
    assert_eq!(scene.reports()[4].body, body_of(&rest));
    taken(scene.report(body).await).await;
    assert_eq!(scene.reports().len(), 5);
}

#[tokio::test]
async fn a_batch_may_take_longer_than_any_of_its_deliveries() {
    let scene = taking(&unlimited()).await;
    let mut entries = Vec::new();
    for instance in [ONE, TWO, THREE] {
        entries.push(overridden(&scene.ids_of(instance).await.card));
    }
    // Each takes a minute and a half; who holds a delivery must be back after two.
    let clock = scene.clock.clone();
    scene.answers_reports(move |_| {
        clock.advance(Duration::from_secs(90));
        status(200)
    });
    for _ in 0..2 {
        taken(scene.report(body_of(&entries)).await).await;
        assert_eq!(scene.reports().len(), 3);
    }
}

#[tokio::test]
async fn a_restart_neither_loses_nor_repeats_anything() {
    let mut scene = taking(&on_disk()).await;
    let ids = scene.ids_of(ONE).await;
    let (first, second) = (overridden(&ids.card), accepted(&ids.card, &[&ids.suggestions[1]]));
    taken(scene.report(body_of(std::slice::from_ref(&first))).await).await;
    scene.answers_reports(|_| status(500));
    assert_eq!(scene.report(body_of(std::slice::from_ref(&second))).await.status(), 500);
    scene.answers_reports(|_| status(200));
    scene.stop().await;
    scene.start().await;
    taken(scene.report(body_of(&[first, second])).await).await;
    let reports = scene.reports();
    assert_eq!(reports.len(), 3);
    assert_eq!(instance(&reports[2]), ONE);
    assert_eq!(reports[2].body, body_of(&[accepted("card-1", &["suggestion-2"])]));
}

#[tokio::test]
async fn a_delivery_is_remembered_as_long_as_its_ids() {
    let scene = taking(&unlimited()).await;
    let ids = scene.ids_of(ONE).await;
    scene.advance(LIFETIME - Duration::from_secs(60));
    let body = body_of(&[overridden(&ids.card)]);
    taken(scene.report(body.clone()).await).await;
    // Past the lease of the claim, and still within the ids' last slot.
    scene.advance(Duration::from_secs(59));
    taken(scene.report(body).await).await;
    assert_eq!(scene.reports().len(), 1);
}

/// An id is honoured to the end of its slot, which may be long after its lifetime.
#[tokio::test]
async fn a_delivery_is_remembered_to_the_end_of_its_ids_slot() {
    let scene = taking(&living("5s", false)).await;
    let ids = scene.ids_of(ONE).await;
    let entries = [overridden(&ids.card), accepted(&ids.card, &[&ids.suggestions[0]])];
    for seconds in [0, 1, 7, 200, 391] {
        scene.advance(Duration::from_secs(seconds));
        for entry in &entries {
            taken(scene.report(body_of(std::slice::from_ref(entry))).await).await;
        }
        assert_eq!(scene.reports().len(), entries.len(), "{seconds} s later");
    }
    scene.advance(Duration::from_secs(1));
    refused_as(scene.report(body_of(&entries)).await, 410, "id-gone").await;
}

#[tokio::test]
async fn a_delivery_is_remembered_as_long_as_its_ids_also_where_new_ones_live_shorter() {
    let mut scene = taking(&living("24h", true)).await;
    let ids = scene.ids_of(ONE).await;
    scene.stop().await;
    scene.reconfigure("lifetime = \"24h\"", "lifetime = \"5s\"");
    scene.start().await;
    let body = body_of(&[overridden(&ids.card)]);
    for _ in 0..3 {
        taken(scene.report(body.clone()).await).await;
        assert_eq!(scene.reports().len(), 1);
        scene.advance(LIFETIME / 3);
    }
    refused_as(scene.report(body).await, 410, "id-gone").await;
}

/// Between the look at the ids and the turn of a later delivery minutes can pass.
#[tokio::test]
async fn a_store_that_forgets_in_the_middle_of_a_batch_lets_nothing_be_delivered_again() {
    let scene = taking(&Extra { trouble: Some(Trouble::None), ..unlimited() }).await;
    let (one, two) = (scene.ids_of(ONE).await, scene.ids_of(TWO).await);
    let delivered = overridden(&two.card);
    taken(scene.report(body_of(std::slice::from_ref(&delivered))).await).await;
    let (store, clock) = (scene.store().clone(), scene.clock.clone());
    scene.answers_reports(move |report| {
        if instance(report) == ONE {
            store.forgets();
            clock.advance(Duration::from_secs(60));
        }
        status(200)
    });
    let batch = body_of(&[overridden(&one.card), delivered, accepted(&two.card, &[])]);
    for (reason, held) in [("id-forged", 0), ("no-id-known", 1)] {
        refused(scene.report(batch.clone()).await, outcome(410, "id-gone", reason), reason).await;
        let reports = scene.reports();
        assert_eq!(reports.iter().map(instance).collect::<Vec<_>>(), [TWO, ONE], "{reason}");
        // The second call's token, and no claim of the first.
        assert_eq!(scene.store().behind().fill().entries, held, "{reason}");
    }
}

// What the store is told later.

/// Reports of one card, each another one.
fn many(card: &str, number: usize) -> String {
    let entry = overridden(card);
    let entries: Vec<String> =
        (0..number).map(|n| entry.replace("18:00:05Z", &format!("18:00:05.{n:04}Z"))).collect();
    body_of(&entries)
}

/// The service answers with `code`, and then the store is away.
fn answers_and_cuts(scene: &Scene, code: u16) {
    let store = scene.store().clone();
    scene.answers_reports(move |_| {
        store.gets(Trouble::Down);
        status(code)
    });
}

/// Whoever is held up for longer than a delivery may take has not got it.
#[tokio::test]
async fn a_claim_that_comes_too_late_is_none() {
    let scene = taking(&Extra { trouble: Some(Trouble::None), ..unlimited() }).await;
    let body = body_of(&[overridden(&scene.ids_of(ONE).await.card)]);
    scene.store().gets(Trouble::Slow(Duration::from_secs(121)));
    let late = outcome(503, "store", "store-late");
    refused(scene.report(body.clone()).await, late, "held up").await;
    assert!(scene.reports().is_empty());
    scene.store().gets(Trouble::None);
    taken(scene.report(body).await).await;
    assert_eq!(scene.reports().len(), 1);
}

/// However many deliveries failed when the store went away, those that were done are noted.
#[tokio::test]
async fn what_failed_takes_no_place_from_what_is_done() {
    let scene = taking(&Extra { trouble: Some(Trouble::None), ..unlimited() }).await;
    let (failed, done) = (scene.ids_of(ONE).await, scene.ids_of(TWO).await);
    answers_and_cuts(&scene, 500);
    assert_eq!(scene.report(many(&failed.card, 900)).await.status(), 500);
    scene.store().gets(Trouble::None);
    answers_and_cuts(&scene, 200);
    let done = many(&done.card, 1000);
    taken(scene.report(done.clone()).await).await;
    scene.store().gets(Trouble::None);
    scene.answers_reports(|_| status(200));
    for seconds in [5, 120] {
        scene.advance(Duration::from_secs(seconds));
        // The store is told in the background.
        let mut tries = 0;
        while scene.report(done.clone()).await.status() != 200 {
            tries += 1;
            assert!(tries < 60, "never taken");
            tokio::time::sleep(Duration::from_millis(5)).await;
            // Whoever tells it may have begun to wait only after the clock was set forward.
            scene.advance(Duration::from_secs(1));
        }
        assert_eq!(scene.reports().len(), 2, "{seconds} s later");
    }
    // What failed is free again.
    taken(scene.report(many(&failed.card, 900)).await).await;
    assert_eq!(scene.reports().len(), 3);
}

/// A gateway that is stopped tells the store what it owes, and does not wait for one that is away.
#[tokio::test]
async fn what_is_done_is_noted_before_a_graceful_stop() {
    for (back, delivered) in [(true, 1), (false, 2)] {
        // The keys are on disk, so that the ids are known after the start, too.
        let mut scene = taking(&Extra { trouble: Some(Trouble::None), ..on_disk() }).await;
        let ids = scene.ids_of(ONE).await;
        answers_and_cuts(&scene, 200);
        let body = body_of(&[overridden(&ids.card)]);
        taken(scene.report(body.clone()).await).await;
        if back {
            scene.store().gets(Trouble::None);
        }
        scene.stop().await;
        scene.store().gets(Trouble::None);
        scene.answers_reports(|_| status(200));
        // Nobody else is left who could tell it.
        scene.advance(Duration::from_secs(121));
        scene.start().await;
        let answer = scene.report(body).await.status();
        assert_eq!((answer.as_u16(), scene.reports().len()), (200, delivered), "{back}");
    }
}

// Ids that are the service's own.

fn passing() -> Extra {
    let lists = "[[service]]\nid = \"*\"\n[service.cards]\nids = \"pass\"\n".to_owned();
    Extra { lists, ..unlimited() }
}

#[tokio::test]
async fn feedback_about_ids_that_passed_passes() {
    let scene = Scene::new(&passing()).await;
    scene.answers_reports(|_| json(200, "{}".to_owned()));
    let ids = scene.ids_of(ONE).await;
    assert_eq!(ids.card, "card-1");
    let body = format!(
        " {{\"feedback\" : [{}, {} ]}}",
        accepted(&ids.card, &["suggestion-1"]),
        overridden("card-of-another-instance"),
    );
    // Whether a repeat is one only the service can tell.
    for number in 1..=2 {
        taken(scene.report(body.clone()).await).await;
        let reports = scene.reports();
        assert_eq!(reports.len(), number);
        let report = &reports[number - 1];
        assert_eq!(report.body, body);
        assert_eq!(report.target, format!("/cds-services/{SERVICE}/feedback"));
        assert_eq!(report.headers["x-hookgate-client"], "ehr");
        assert!(!report.headers.contains_key("x-hookgate-hook-instance"));
    }
    scene.answers_reports(|_| answer(500, "text/html", "Traceback".to_owned()));
    let failed = scene.report(body.clone()).await;
    assert_eq!(failed.status(), 500);
    assert!(!failed.text().await.unwrap().contains("Traceback"));
    // It is still a report, and its sender still somebody.
    refused_as(scene.report("{").await, 400, "malformed").await;
    let url = scene.feedback();
    let bare = scene.http().post(&url).header("content-type", "application/json");
    refused_as(bare.body(body).send().await.unwrap(), 401, "unauthorized").await;
}

#[test]
fn an_id_that_passes_is_no_credential() {
    let config = |ids: &str, analytics: &str| {
        Config::from_toml(&format!(
            "public_url = \"https://gate.example\"\n[[client]]\nid = \"ehr\"\nissuer = \"https://ehr.example\"\n\
             jwks_url = \"https://ehr.example/jwks\"\n[[upstream]]\nid = \"u\"\nurl = \"http://u.example\"\n\
             [[service]]\nid = \"x\"\n[service.cards]\nids = \"{ids}\"\n[service.feedback]\nanalytics = \
             \"{analytics}\"\n"
        ))
    };
    for (ids, analytics) in [("rewrite", "uuid"), ("rewrite", "bearer"), ("pass", "bearer")] {
        assert!(config(ids, analytics).is_ok(), "{ids} {analytics}");
    }
    let error = config("pass", "uuid").unwrap_err().to_string();
    assert!(error.contains("service[0].feedback.analytics: is \"uuid\""), "{error}");
}
