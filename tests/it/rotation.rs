//! Keys are rotated while links are open, ids are awaited and tokens are on their way.

use std::sync::Arc;
use std::time::Duration;

use hookgate::clock::{Clock, ManualClock};
use hookgate::entropy::SystemEntropy;
use hookgate::gateway::tokens::{
    Binding, CardIds, IdError, Kind, KnownNames, LinkTokens, Target, TokenError,
};
use hookgate::keyring::{
    EVERY, KeyFileWriter, Keyring, LONGEST_SIGNATURE, Life, LiveKeyring, MARGIN, PROPAGATION,
    RotationError, SigningAlgorithm, Wanted,
};
use hookgate::names::{ClientId, HookInstance, ServiceId};
use hookgate::store::{Incarnation, Key};
use http::header::{ETAG, IF_NONE_MATCH};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation};
use serde_json::Value;

use crate::harness::{Extra, NOW, SERVICE, Scene, hook_body};

const LIFE: Duration = Duration::from_secs(24 * 3600);
const BOTH: Wanted =
    Wanted { sealing: Some(Life::EvenShorter(LIFE)), signing: Some(SigningAlgorithm::EdDsa) };
const HISTORY: Incarnation = Incarnation { mark: *b"history1", since: NOW };

/// One replica's links and ids, with the keys of one version of the file.
struct Replica {
    links: LinkTokens,
    ids: CardIds,
    live: Arc<LiveKeyring>,
}

fn ids() -> (ClientId, ServiceId) {
    (ClientId::new("ehr").unwrap(), ServiceId::new(SERVICE).unwrap())
}

impl Replica {
    fn new(ring: Keyring) -> Self {
        let live = Arc::new(LiveKeyring::new(ring, NOW));
        let (entropy, url) =
            (Arc::new(SystemEntropy::default()), "https://gw.example".parse().unwrap());
        let (client, service) = ids();
        let names = KnownNames::new([client], [service]).unwrap();
        Self {
            links: LinkTokens::new(Arc::clone(&live), &url, names, entropy.clone()),
            ids: CardIds::new(Arc::clone(&live), &url, entropy),
            live,
        }
    }

    fn mint(&self, until: hookgate::clock::UnixTime) -> Minted {
        let (client, service) = ids();
        let hook_instance = HookInstance(uuid::Uuid::from_u128(1));
        let binding = Binding { client, tenant: None, service, hook_instance };
        let link = |target: &str| {
            let sealed = self.links.seal(&binding, 0, target, until, HISTORY).unwrap();
            (sealed.url.rsplit('/').next().unwrap().to_owned(), sealed.stored)
        };
        let issued = self.ids.issue(&binding, &[(Kind::Card, "card-1")], until, HISTORY).unwrap();
        Minted {
            link: link("https://app.example/").0,
            long: link(&format!("https://app.example/{}", "a".repeat(3000))),
            id: issued.substitutes[0].clone(),
            record: issued.records[0].value.clone(),
        }
    }

    /// Whether the link, the link whose target is kept, and the id mean something here.
    fn knows(&self, minted: &Minted, now: hookgate::clock::UnixTime) -> [bool; 3] {
        let link = match self.links.open(&minted.link, now, HISTORY) {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error, TokenError::UnknownKey);
                false
            }
        };
        let long = self.links.open(&minted.long.0, now, HISTORY).is_ok_and(|opened| {
            let (key, value) = minted.long.1.as_ref().unwrap();
            assert!(opened.target() == Target::Stored(*key));
            self.links.open_target(&opened, value).is_ok_and(|target| target.len() > 3000)
        });
        let (client, service) = ids();
        let id = match self.ids.parse(&minted.id, now, HISTORY) {
            Ok(id) => {
                let original = self.ids.resolve(&id, &minted.record, &client, &service).unwrap();
                original.text == "card-1"
            }
            Err(error) => {
                assert_eq!(error, IdError::UnknownKey);
                false
            }
        };
        [link, long, id]
    }
}

struct Minted {
    link: String,
    long: (String, Option<(Key, bytes::Bytes)>),
    id: String,
    record: bytes::Bytes,
}

#[test]
fn what_one_replica_gives_out_another_takes_that_is_a_step_behind_or_ahead() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(NOW);
    let writer = KeyFileWriter {
        file: folder.path().join("keys.json"),
        output: None,
        clock: Arc::new(clock.clone()),
        entropy: Arc::new(SystemEntropy::default()),
    };
    writer.begin(SigningAlgorithm::Es256, LIFE).unwrap();
    let load = || Replica::new(Keyring::load(&writer.file).unwrap());
    let steps: [&dyn Fn(); 3] = [
        &|| drop(writer.add(&BOTH, LIFE).unwrap()),
        &|| {
            assert!(matches!(writer.rotate(PROPAGATION), Err(RotationError::TooYoung { .. })));
            clock.advance(PROPAGATION);
            writer.rotate(PROPAGATION).unwrap();
        },
        &|| {
            assert!(matches!(writer.retire(), Err(RotationError::Needed(_))));
            clock.advance(LIFE + MARGIN);
            writer.retire().unwrap();
        },
    ];
    let mut behind = load();
    for step in steps.into_iter().cycle().take(7) {
        let early = behind.mint(clock.now().plus(LIFE));
        step();
        let (ahead, now) = (load(), clock.now());
        let late = ahead.mint(now.plus(LIFE));
        assert_eq!(behind.knows(&late, now), [true; 3]);
        // What was given out before the step is there for as long as it lives.
        let expired =
            matches!(behind.links.open(&early.link, now, HISTORY), Err(TokenError::Expired { .. }));
        if !expired {
            assert_eq!(ahead.knows(&early, now), [true; 3]);
        }
        behind = ahead;
    }
}

#[test]
fn what_was_made_last_before_a_rotation_outlives_no_retirement() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(NOW);
    let writer = KeyFileWriter {
        file: folder.path().join("keys.json"),
        output: None,
        clock: Arc::new(clock.clone()),
        entropy: Arc::new(SystemEntropy::default()),
    };
    writer.begin(SigningAlgorithm::Es256, LIFE).unwrap();
    let replica = Replica::new(Keyring::load(&writer.file).unwrap());
    writer.add(&BOTH, LIFE).unwrap();
    writer.rotate(Duration::ZERO).unwrap();
    // It seals on for a while with the key that is current in its copy.
    clock.advance(Duration::from_secs(600));
    let minted = replica.mint(clock.now().plus(LIFE));
    let ids_end = || {
        let found = replica.ids.parse(&minted.id, clock.now(), HISTORY);
        found == Err(IdError::Expired)
    };
    let mut minutes = 0;
    while writer.retire().is_err() || Keyring::load(&writer.file).unwrap().rows().len() > 2 {
        clock.advance(Duration::from_secs(60));
        minutes += 1;
        assert!(minutes < 60 * 48);
    }
    assert!(ids_end());
    assert!(matches!(
        replica.links.open(&minted.link, clock.now(), HISTORY),
        Err(TokenError::Expired { .. })
    ));
}

#[test]
fn a_leaked_key_opens_nothing_from_the_moment_it_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(NOW);
    let writer = KeyFileWriter {
        file: folder.path().join("keys.json"),
        output: None,
        clock: Arc::new(clock.clone()),
        entropy: Arc::new(SystemEntropy::default()),
    };
    writer.begin(SigningAlgorithm::Es256, LIFE).unwrap();
    let replica = Replica::new(Keyring::load(&writer.file).unwrap());
    let minted = replica.mint(NOW.plus(LIFE));
    writer.add(&BOTH, LIFE).unwrap();
    writer.rotate(Duration::ZERO).unwrap();
    replica.live.replace(Keyring::load(&writer.file).unwrap(), NOW);
    assert_eq!(replica.knows(&minted, NOW), [true; 3]);
    writer.force_out("1").unwrap();
    replica.live.replace(Keyring::load(&writer.file).unwrap(), NOW);
    assert_eq!(replica.knows(&minted, NOW), [false; 3]);
}

fn writer(scene: &Scene) -> KeyFileWriter {
    KeyFileWriter {
        file: scene.directory().join("state/keys.json"),
        output: None,
        clock: Arc::new(scene.clock.clone()),
        entropy: Arc::new(SystemEntropy::default()),
    }
}

/// Waits until the gateway has the keys of its file.
async fn taken_up(scene: &Scene) {
    let wanted = Keyring::load(&writer(scene).file).unwrap();
    let fingerprint = wanted.fingerprint();
    let line = format!("current=\"{}\",held=\"{}\"", fingerprint.current(), fingerprint.held());
    for _ in 0..1000 {
        if scene.metrics().await.contains(&line) {
            return;
        }
        scene.advance(EVERY);
    }
    panic!("not taken up");
}

async fn published(scene: &Scene) -> JwkSet {
    let url = format!("{}/.well-known/jwks.json", scene.public_url);
    let answer = scene.http().get(url).send().await.unwrap();
    assert_eq!(answer.headers()["cache-control"], "public, max-age=300");
    assert_eq!(answer.headers()["content-type"], "application/jwk-set+json");
    let text = answer.text().await.unwrap();
    assert!(!text.contains("\"d\""), "a private key is published");
    serde_json::from_str(&text).unwrap()
}

/// The token that arrived last at the service, and whether `set` verifies it.
fn verifies(scene: &Scene, set: &JwkSet) -> bool {
    let arrivals = scene.service.arrivals();
    let header = arrivals.last().unwrap().headers["authorization"].to_str().unwrap().to_owned();
    let token = header.strip_prefix("Bearer ").unwrap();
    let head = jsonwebtoken::decode_header(token).unwrap();
    let Some(jwk) = set.find(&head.kid.unwrap()) else { return false };
    let mut rules = Validation::new(head.alg);
    // The scene has its own time.
    (rules.validate_exp, rules.validate_aud) = (false, false);
    let key = DecodingKey::from_jwk(jwk).unwrap();
    jsonwebtoken::decode::<Value>(token, &key, &rules).unwrap();
    true
}

#[tokio::test]
async fn links_ids_and_tokens_go_on_through_a_rotation() {
    let upstream = "authorization = \"reissue\"".to_owned();
    let scene = Scene::new(&Extra { upstream, disk: true, ..Extra::default() }).await;
    let before = scene.link().await;
    let old = published(&scene).await;
    assert!(verifies(&scene, &old));
    assert_eq!(old.keys.len(), 1);

    writer(&scene).add(&BOTH, LIFE).unwrap();
    taken_up(&scene).await;
    let between = scene.link().await;
    let both = published(&scene).await;
    assert_eq!(both.keys.len(), 2);
    assert!(verifies(&scene, &old), "the next key signs already");

    scene.advance(PROPAGATION);
    writer(&scene).rotate(PROPAGATION).unwrap();
    taken_up(&scene).await;
    let after = scene.link().await;
    assert!(verifies(&scene, &both) && !verifies(&scene, &old), "a verifier had it in time");
    assert_eq!(published(&scene).await.keys.len(), 2);
    for link in [before, between, after] {
        assert_eq!(scene.click(&link).send().await.unwrap().status(), 303);
        assert_eq!(scene.click(&link).send().await.unwrap().status(), 410);
    }

    scene.advance(LONGEST_SIGNATURE + MARGIN);
    writer(&scene).retire().unwrap();
    taken_up(&scene).await;
    assert_eq!(published(&scene).await.keys.len(), 1);
    scene.link().await;
    assert!(verifies(&scene, &both));
}

#[tokio::test]
async fn a_key_set_that_is_known_is_not_sent_again() {
    let scene = Scene::new(&Extra { disk: true, ..Extra::default() }).await;
    let url = format!("{}/.well-known/jwks.json", scene.public_url);
    let get = |tag: &str| scene.http().get(&url).header(IF_NONE_MATCH, tag).send();
    let first = scene.http().get(&url).send().await.unwrap();
    let tag = first.headers()[ETAG].to_str().unwrap().to_owned();
    let again = get(&tag).await.unwrap();
    assert_eq!(again.status(), 304);
    assert_eq!(again.headers()[ETAG], tag.as_str());
    assert_eq!(again.headers()["cache-control"], "public, max-age=300");
    assert!(again.headers().get("content-length").is_none_or(|length| length != "0"));
    assert!(again.bytes().await.unwrap().is_empty());
    assert_eq!(get("\"another\"").await.unwrap().status(), 200);
    let head = scene.http().head(&url).header(IF_NONE_MATCH, &tag).send().await.unwrap();
    assert_eq!(head.status(), 200);
    assert_eq!(head.headers()["content-length"], first.content_length().unwrap().to_string());
    writer(&scene).add(&BOTH, LIFE).unwrap();
    taken_up(&scene).await;
    let changed = get(&tag).await.unwrap();
    assert_eq!(changed.status(), 200);
    assert_ne!(changed.headers()[ETAG], tag.as_str());
}

#[tokio::test]
async fn a_bad_file_changes_nothing_for_callers() {
    let scene = Scene::new(&Extra { disk: true, ..Extra::default() }).await;
    std::fs::write(&writer(&scene).file, "{").unwrap();
    let refused = "hookgate_keyring_file_refused 1";
    while !scene.metrics().await.contains(refused) {
        scene.advance(EVERY);
    }
    assert_eq!(scene.post(&scene.endpoint(), hook_body()).await.status(), 200);
    // It is told a moment after it is counted.
    let told = loop {
        let ready = reqwest::get(format!("{}/readyz", scene.health())).await.unwrap();
        assert_eq!(ready.status(), 200);
        let ready: Value = ready.json().await.unwrap();
        match ready["degraded"][0].as_str() {
            Some(told) => break told.to_owned(),
            None => tokio::task::yield_now().await,
        }
    };
    assert!(told.starts_with("keyring: ") && told.contains("is damaged at line 1"), "{told}");
}
