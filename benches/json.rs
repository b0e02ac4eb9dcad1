//! What the bodies cost, beside serde_json reading them into a tree and writing them again.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot read its data has nothing to say")]

use std::hint::black_box;
use std::io::Read;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flate2::read::GzDecoder;
use hookgate::clock::UnixTime;
use hookgate::gateway::cards::answer::{Cards, IdEdits};
use hookgate::gateway::cards::policy::Policy;
use hookgate::gateway::inspect::bases::FhirBase;
use hookgate::gateway::inspect::policy::{Policy as FhirPolicy, Settings};
use hookgate::gateway::inspect::request::inspect;
use serde_json::{Value, json};

const SMALL: &[u8] = include_bytes!("../tests/data/requests/sandbox-patient-view-13k.json");
const LARGE: &[u8] = include_bytes!("../tests/data/requests/sandbox-patient-view-1863k.json.gz");

fn requests(criterion: &mut Criterion) {
    let mut large = Vec::new();
    GzDecoder::new(LARGE).read_to_end(&mut large).unwrap();
    let policy = FhirPolicy::new(Settings {
        fhir_servers: vec![FhirBase::new("http://localhost:29111/fhir").unwrap()],
        fhir_server_check: None,
    })
    .unwrap();
    for (name, body) in [("13 KB", SMALL), ("1.9 MB", &large)] {
        let mut group = criterion.benchmark_group(format!("request {name}"));
        group.throughput(Throughput::Bytes(u64::try_from(body.len()).unwrap()));
        group.bench_function("inspect", |b| {
            b.iter(|| inspect(black_box(body), &policy).unwrap());
        });
        group.bench_function("tree and back", |b| b.iter(|| tree_and_back(black_box(body))));
        group.finish();
    }
}

fn answers(criterion: &mut Criterion) {
    let few = answer(2, 2, 300);
    let many = answer(680, 3, 500);
    for (name, body) in [("2.4 KB, 8 edits", few), ("1 MB, 4,080 edits", many)] {
        let mut group = criterion.benchmark_group(format!("answer {name}"));
        group.throughput(Throughput::Bytes(u64::try_from(body.len()).unwrap()));
        let cards = Cards::read(&body, &Policy::default()).unwrap();
        let links =
            vec![format!("https://cds.example/open/{}", "x".repeat(300)); cards.links().len()];
        let ids = vec!["5f6e0b6e-0f3a-8a51-9a3e-1b2c3d4e5f60".to_owned(); cards.ids().len()];
        group.bench_function("read and render", |b| {
            b.iter(|| {
                let cards = Cards::read(black_box(&body), &Policy::default()).unwrap();
                let expiry = Some(UnixTime::from_secs(1_795_458_491));
                cards.render(&links, IdEdits::Replace(&ids), expiry).unwrap()
            });
        });
        group.bench_function("tree and back", |b| b.iter(|| tree_and_back(black_box(&body))));
        group.finish();
    }
}

fn tree_and_back(body: &[u8]) -> Vec<u8> {
    let tree: Value = serde_json::from_slice(body).unwrap();
    serde_json::to_vec(&tree).unwrap()
}

fn answer(cards: usize, links: usize, text: usize) -> Vec<u8> {
    let link = json!({
        "label": "Open the guideline",
        "url": "https://app.example/guideline/7?patient=4711&session=abcdef",
        "type": "absolute",
    });
    let card = json!({
        "uuid": "aecb8556-d78c-405f-a48c-f1fcf79cc0a6",
        "summary": "A summary that says what is to be said",
        "detail": "All work and no play. ".repeat(text / 22),
        "indicator": "info",
        "source": { "label": "Guidelines", "url": "https://guidelines.example" },
        "suggestions": [{
            "label": "Take the other one",
            "uuid": "bd37e682-4110-44be-b4b7-cf28d7ea258f",
            "actions": [{ "type": "create", "description": "Create it", "resource": {
                "resourceType": "MedicationRequest", "status": "draft", "intent": "order",
            } }],
        }],
        "links": vec![link; links],
    });
    serde_json::to_vec(&json!({ "cards": vec![card; cards] })).unwrap()
}

criterion_group!(benches, requests, answers);
criterion_main!(benches);
