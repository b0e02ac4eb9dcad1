//! What can be scraped, and that the table in `docs/metrics.md` says so.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use hookgate::demo::ehr::SigningKey;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, SerialNumber, date_time_ymd,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Extra, KID, Scene, hook_body};

/// A gateway that has met everything that it counts.
async fn after_some_of_everything() -> Scene {
    let client = "replay = \"observe\"\nwhen_store_down = \"local\"".to_owned();
    let mut scene = Scene::new(&Extra { client, ..Extra::default() }).await;
    scene.stop().await;
    ask_for_certificates(&mut scene);
    scene.start().await;
    scene.cards().await;
    let url = scene.endpoint();
    let token = scene.token(&url);
    for _ in 0..2 {
        scene.post_with(&url, &token, hook_body()).await;
    }
    let stranger = SigningKey::generate("another").unwrap();
    assert_ne!(KID, "another");
    let unknown = stranger.sign(&scene.claims(&url), None).unwrap();
    assert_eq!(scene.post_with(&url, &unknown, hook_body()).await.status(), 401);
    let answer = scene.raw("GET / HTTP/1.1\nHost: x\n\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    // No TLS at all.
    let (_, port) = scene.public_url.rsplit_once(':').unwrap();
    let mut stranger = TcpStream::connect(format!("127.0.0.1:{port}")).await.unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let _ = stranger.read_to_end(&mut Vec::new()).await;
    for counted in [
        "hookgate_handshakes_failed_total",
        "hookgate_traces_spans_total",
        "hookgate_audit_events_total",
    ] {
        until_counted(&scene, counted).await;
    }
    scene
}

/// From the next start on EHRs may show certificates, of an authority that takes some back.
fn ask_for_certificates(scene: &mut Scene) {
    let (mut params, key) =
        (CertificateParams::new(Vec::new()).unwrap(), KeyPair::generate().unwrap());
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).unwrap();
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2026, 1, 1),
        next_update: date_time_ymd(2027, 1, 1),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = list.signed_by(&Issuer::new(params, key)).unwrap();
    let (ca, crl) = (scene.directory().join("ca.pem"), scene.directory().join("ca.crl"));
    std::fs::write(&ca, certificate.pem()).unwrap();
    std::fs::write(&crl, list.pem().unwrap()).unwrap();
    let asks = format!(
        "[listener]\nclient_certificates = \"optional\"\nclient_ca_file = \"{}\"\n\
         client_crl_files = [\"{}\"]",
        ca.display(),
        crl.display()
    );
    scene.reconfigure("[listener]", &asks);
}

/// What tasks beside the calls count, they count later.
async fn until_counted(scene: &Scene, family: &str) {
    let series = format!("{family}{{");
    for _ in 0..1000 {
        if scene.metrics().await.contains(&series) {
            return;
        }
        scene.advance(Duration::from_secs(6));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{family} counts nothing");
}

/// Name and type of every family, as scraped.
fn families(scrape: &str) -> BTreeMap<String, String> {
    let lines = scrape.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    lines
        .map(|line| line.split_once(' ').unwrap())
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect()
}

/// One row of the table: the series' name as it is asked for, its type, its labels.
fn rows() -> Vec<[String; 3]> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let mut cells = row.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', ""));
        [cells.next().unwrap(), cells.next().unwrap(), cells.next().unwrap()]
    })
    .collect()
}

#[tokio::test]
async fn the_table_says_what_can_be_scraped_and_nothing_else() {
    let scene = after_some_of_everything().await;
    let scrape = scene.metrics().await;
    let listed: BTreeMap<String, String> = rows()
        .into_iter()
        .map(|[name, kind, _]| {
            let family =
                if kind == "counter" { name.strip_suffix("_total").unwrap() } else { &name };
            (family.to_owned(), kind)
        })
        .collect();
    assert_eq!(families(&scrape), listed, "{scrape}");
    assert!(listed.keys().all(|name| name.starts_with("hookgate_")));
}

#[tokio::test]
async fn every_series_has_the_labels_that_the_table_lists() {
    let scene = after_some_of_everything().await;
    let scrape = scene.metrics().await;
    for [name, kind, labels] in rows() {
        let series = if kind == "histogram" { format!("{name}_count") } else { name };
        let line = scrape
            .lines()
            .find(|line| {
                line.strip_prefix(&series).is_some_and(|rest| rest.starts_with(['{', ' ']))
            })
            .unwrap_or_else(|| panic!("{series} has no series:\n{scrape}"));
        let inside = line.split_once('{').map_or("", |(_, rest)| rest.split('}').next().unwrap());
        let found: Vec<&str> = inside
            .split(',')
            .filter_map(|pair| pair.split_once('='))
            .map(|(label, _)| label)
            .collect();
        assert_eq!(found.join(", "), labels, "{line}");
    }
}
