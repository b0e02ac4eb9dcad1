//! EHRs that show a certificate, and clinicians' browsers that have none, at one listener.

use std::net::SocketAddr;

use http::Method;
use rcgen::ExtendedKeyUsagePurpose;
use reqwest::{Identity, Response};
use serde_json::Value;
use tempfile::TempDir;

use crate::authority::{Authority, Ehr as Holder, file};
use crate::harness::{Ehr, Extra, Scene, hook_body, lines_of, outcome, refused, request_id};

fn holder(authority: &Authority, name: &str, serial: u64) -> Holder {
    authority.issue_for(name, serial, (2026, 2028), ExtendedKeyUsagePurpose::ClientAuth)
}

/// A scene whose gateway asks for certificates of `authority`'s, and the folder with the files for it.
async fn asking(authority: &Authority, word: &str, extra: Extra) -> (Scene, TempDir) {
    let files = TempDir::new().unwrap();
    let ca = file(files.path(), "ca.pem", &authority.pem);
    let list = authority.list_of(&[], (2026, 1), (2027, 1)).pem().unwrap();
    let list = file(files.path(), "ehr.crl", list);
    let listener = format!(
        "client_certificates = \"{word}\"\nclient_ca_file = {ca:?}\nclient_crl_files = [{list:?}]"
    );
    (Scene::new(&Extra { listener, ..extra }).await, files)
}

/// Somebody who shows this certificate, or none.
fn client(scene: &Scene, holder: Option<&Holder>, http2: bool) -> reqwest::Client {
    let builder = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_der(&scene.certificate).unwrap()])
        .resolve("localhost", SocketAddr::from(([127, 0, 0, 1], 0)))
        .redirect(reqwest::redirect::Policy::none());
    let builder = if http2 { builder } else { builder.http1_only() };
    match holder {
        None => builder.build().unwrap(),
        Some(holder) => {
            let pem = format!("{}{}", holder.pem, holder.key);
            builder.identity(Identity::from_pem(pem.as_bytes()).unwrap()).build().unwrap()
        }
    }
}

async fn call(client: &reqwest::Client, url: &str, token: &str) -> Response {
    let call = client.post(url).bearer_auth(token).header("content-type", "application/json");
    call.body(hook_body()).send().await.unwrap()
}

#[tokio::test]
async fn calls_come_over_connections_of_their_own_client_alone() {
    let authority = Authority::root("hospital");
    let (other, free) = (Ehr::new("other"), Ehr::new("free"));
    let extra = Extra {
        client: "certificates = [\"dns:ehr.example.org\"]".to_owned(),
        lists: other.inline("certificates = [\"subject:CN=other.example.org\"]") + &free.inline(""),
        ..Extra::default()
    };
    let (scene, _files) = asking(&authority, "optional", extra).await;
    let [ours, theirs, nobodys] =
        [("ehr.example.org", 7), ("other.example.org", 8), ("nobody.example.org", 9)]
            .map(|(name, serial)| holder(&authority, name, serial));
    let endpoint = scene.endpoint();
    let missing = outcome(401, "unauthorized", "certificate-missing");
    let another = outcome(401, "unauthorized", "certificate");
    for http2 in [false, true] {
        let token = |who: &str| match who {
            "ehr" => scene.token(&endpoint),
            "other" => other.token(&scene, &endpoint),
            _ => free.token(&scene, &endpoint),
        };
        for (who, holder, expected) in [
            ("ehr", Some(&ours), None),
            ("ehr", None, Some(missing)),
            ("ehr", Some(&theirs), Some(another)),
            ("ehr", Some(&nobodys), Some(another)),
            ("other", Some(&theirs), None),
            ("other", Some(&ours), Some(another)),
            ("other", None, Some(missing)),
            ("free", None, None),
            ("free", Some(&nobodys), None),
            ("free", Some(&ours), Some(another)),
        ] {
            let answer = call(&client(&scene, holder, http2), &endpoint, &token(who)).await;
            match expected {
                None => assert_eq!(answer.status(), 200, "{who}"),
                Some(expected) => {
                    refused(answer, expected, who).await;
                }
            }
        }
        // The log says what came, so that an operator can write it down; and nothing was spent.
        let token = token("ehr");
        let answer = call(&client(&scene, Some(&theirs), http2), &endpoint, &token).await;
        let line = lines_of(&request_id(&answer)).pop().unwrap();
        let detail = line["detail"].as_str().unwrap();
        assert!(detail.contains("subject:CN=other.example.org"), "{detail}");
        assert_eq!(line["client"], "ehr");
        let answer = call(&client(&scene, Some(&ours), http2), &endpoint, &token).await;
        assert_eq!(answer.status(), 200);
    }
}

#[tokio::test]
async fn where_certificates_are_required_browsers_open_links_without() {
    let authority = Authority::root("hospital");
    let (scene, _files) = asking(&authority, "required", Extra::default()).await;
    let ours = holder(&authority, "ehr.example.org", 7);
    let (with, without) = (client(&scene, Some(&ours), true), client(&scene, None, true));
    let missing = outcome(401, "unauthorized", "certificate-missing");
    let endpoint = scene.endpoint();
    refused(call(&without, &endpoint, &scene.token(&endpoint)).await, missing, "hook").await;
    let feedback = scene.feedback();
    refused(call(&without, &feedback, &scene.token(&feedback)).await, missing, "feedback").await;
    let discovery = format!("{}/cds-services", scene.public_url);
    refused(without.get(&discovery).send().await.unwrap(), missing, "discovery").await;

    let cards: Value = call(&with, &endpoint, &scene.token(&endpoint)).await.json().await.unwrap();
    let link = cards["cards"][0]["links"][0]["url"].as_str().unwrap();
    let opened = without.get(link).header("sec-fetch-mode", "navigate").send().await.unwrap();
    assert_eq!(opened.status(), 303);
    let keys = format!("{}/.well-known/jwks.json", scene.public_url);
    assert_eq!(without.get(keys).send().await.unwrap().status(), 200);
    // A browser sends a preflight without any credential.
    let preflight = without
        .request(Method::OPTIONS, &endpoint)
        .header("origin", "https://ehr.example.org")
        .header("access-control-request-method", "POST");
    assert!(preflight.send().await.unwrap().status().is_success());
}

/// Revocation as an operator does it: another file in the place of the list, and nothing restarted.
#[tokio::test]
async fn a_list_that_is_replaced_is_taken_up() {
    let authority = Authority::root("hospital");
    let ours = holder(&authority, "ehr.example.org", 7);
    let extra = Extra { reloads: true, ..Extra::default() };
    let (scene, files) = asking(&authority, "optional", extra).await;
    let endpoint = scene.endpoint();
    let answer = call(&client(&scene, Some(&ours), true), &endpoint, &scene.token(&endpoint)).await;
    assert_eq!(answer.status(), 200);

    let revoking = authority.list_of(&[&ours.serial], (2026, 1), (2027, 1)).pem().unwrap();
    let next = file(files.path(), "next.crl", revoking);
    std::fs::rename(next, files.path().join("ehr.crl")).unwrap();
    let request =
        || client(&scene, Some(&ours), true).get(format!("{}/cds-services", scene.public_url));
    for _ in 0..2000 {
        if request().send().await.is_err() {
            break;
        }
        scene.advance(std::time::Duration::from_millis(500));
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(request().send().await.is_err(), "never refused");
    let metrics = scene.metrics().await;
    assert!(metrics.contains("hookgate_handshakes_failed_total{reason=\"revoked\"}"), "{metrics}");
    let without = client(&scene, None, true);
    assert_eq!(call(&without, &endpoint, &scene.token(&endpoint)).await.status(), 200);
}
