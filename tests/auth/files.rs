//! Sets in files.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use hookgate::clock::ManualClock;
use hookgate::gateway::auth::{KeySettings, KeyStatus};
use serde_json::json;

use crate::gate::{Gate, ISSUER, NOW, client};
use crate::signer::OURS;

const POLL: Duration = Duration::from_secs(30);

fn set(kid: &str) -> String {
    json!({"keys": [OURS.jwk("ES384", kid)]}).to_string()
}

fn holds(kid: &str) -> impl Fn(&KeyStatus) -> bool + '_ {
    move |status| status.kids == [kid] && status.next_refresh.is_some()
}

#[tokio::test]
async fn a_file_is_held_at_once_and_read_again_when_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    for version in ["one", "two"] {
        fs::create_dir(folder.path().join(version)).unwrap();
        fs::write(folder.path().join(version).join("jwks.json"), set(version)).unwrap();
    }
    // As Kubernetes mounts a ConfigMap: the file leads over a link that is swapped.
    symlink("one", folder.path().join("..data")).unwrap();
    let path = folder.path().join("jwks.json");
    symlink("..data/jwks.json", &path).unwrap();

    let settings = client(&format!("id = \"ehr\"\nissuer = {ISSUER:?}\njwks_file = {path:?}"));
    let clock = ManualClock::new(NOW);
    let gate = Gate::open_at(vec![settings], KeySettings::default(), None, clock.clone());
    assert!(gate.auth.pending().is_empty(), "held before any task ran");
    gate.until("ehr", holds("one")).await;

    symlink("two", folder.path().join("..new")).unwrap();
    fs::rename(folder.path().join("..new"), folder.path().join("..data")).unwrap();
    clock.advance(POLL);
    gate.until("ehr", holds("two")).await;

    fs::write(folder.path().join("two/jwks.json"), "{").unwrap();
    clock.advance(POLL);
    gate.until("ehr", |s| s.last_error == Some("not-a-set") && s.next_refresh.is_some()).await;
    gate.call(&gate.token(&OURS, ISSUER, "ES384", "two")).await.unwrap();

    fs::remove_file(folder.path().join("two/jwks.json")).unwrap();
    clock.advance(POLL);
    gate.until("ehr", |s| s.last_error == Some("file") && s.next_refresh.is_some()).await;
    gate.call(&gate.token(&OURS, ISSUER, "ES384", "two")).await.unwrap();

    fs::write(folder.path().join("two/jwks.json"), " ".repeat(300 * 1024)).unwrap();
    clock.advance(POLL);
    gate.until("ehr", |s| s.last_error == Some("too-large") && s.next_refresh.is_some()).await;

    fs::write(folder.path().join("two/jwks.json"), set("three")).unwrap();
    clock.advance(POLL);
    gate.until("ehr", holds("three")).await;
}
