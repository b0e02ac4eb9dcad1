//! The key file on a real file system, and what its keys do.

#[cfg(test)]
use super::*;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::{ManualClock, UnixTime};
use crate::entropy::{Entropy, NoEntropy, SeededEntropy, SystemEntropy};

const LIFE: Duration = Duration::from_secs(24 * 3600);

fn clock() -> ManualClock {
    ManualClock::new(UnixTime::from_secs(1_795_458_491))
}

fn keys(seed: u64) -> Keyring {
    Keyring::generate(&SeededEntropy::new(seed), &clock()).unwrap()
}

struct Place {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state/keys.json");
    Place { _dir: dir, path }
}

fn create(place: &Place) -> Keyring {
    Keyring::load_or_create(&place.path, LIFE, &SeededEntropy::new(7), &clock()).unwrap()
}

/// A file as `create` makes it, changed.
fn changed(change: impl FnOnce(&mut Value)) -> Result<Keyring, KeyringError> {
    let place = place();
    create(&place);
    let mut file: Value = serde_json::from_slice(&fs::read(&place.path).unwrap()).unwrap();
    change(&mut file);
    fs::write(&place.path, serde_json::to_vec(&file).unwrap()).unwrap();
    Keyring::load(&place.path)
}

fn seal(key: &SealKey, text: &[u8]) -> Vec<u8> {
    let mut bytes = text.to_vec();
    key.seal(Purpose::Link, [9; NONCE_LEN], b"aad", &mut bytes, 0).unwrap();
    bytes
}

#[test]
fn the_first_start_makes_a_private_file_and_later_ones_read_it() {
    let place = place();
    let first = create(&place);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&place.path), 0o600);
    let folder = place.path.parent().unwrap();
    assert_eq!(mode(folder), 0o700);
    assert_eq!(fs::read_dir(folder).unwrap().count(), 1, "a draft was left");

    // Another seed: if it drew again, these would be other keys.
    let again =
        Keyring::load_or_create(&place.path, LIFE, &SeededEntropy::new(8), &clock()).unwrap();
    assert_eq!(again.public_jwks(), first.public_jwks());
    let mut sealed = seal(first.sealing(), b"text");
    let key = again.opening(Kid::FIRST).unwrap();
    assert_eq!(key.open(Purpose::Link, [9; 12], b"aad", &mut sealed), Ok(&b"text"[..]));
    assert_eq!(key.created(), UnixTime::from_secs(1_795_458_491));
}

#[test]
fn of_several_first_starts_one_wins() {
    let place = Arc::new(place());
    let start = Arc::new(Barrier::new(8));
    let threads: Vec<_> = (0..8)
        .map(|seed| {
            let (place, start) = (Arc::clone(&place), Arc::clone(&start));
            std::thread::spawn(move || {
                start.wait();
                Keyring::load_or_create(&place.path, LIFE, &SeededEntropy::new(seed), &clock())
                    .unwrap()
                    .public_jwks()
            })
        })
        .collect();
    let sets: Vec<String> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(sets.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn a_file_that_others_can_get_at_is_refused() {
    let place = place();
    create(&place);
    for mode in [0o640, 0o604, 0o660, 0o622, 0o601, 0o777] {
        fs::set_permissions(&place.path, fs::Permissions::from_mode(mode)).unwrap();
        let refused = Keyring::load(&place.path).unwrap_err();
        assert!(matches!(refused, KeyringError::Exposed { mode: m, .. } if m == mode), "{mode:o}");
        assert!(refused.to_string().contains("chmod 0600"), "{refused}");
    }
    fs::set_permissions(&place.path, fs::Permissions::from_mode(0o400)).unwrap();
    Keyring::load(&place.path).unwrap();
}

/// As the kubelet mounts it: the file is behind a link to a folder.
#[test]
fn where_a_mounted_secret_is_exposed_the_volume_is_to_be_changed() {
    let place = place();
    create(&place);
    let mount = place.path.with_file_name("mount");
    fs::create_dir_all(mount.join("..1")).unwrap();
    fs::rename(&place.path, mount.join("..1/keys.json")).unwrap();
    symlink("..1", mount.join("..data")).unwrap();
    symlink("..data/keys.json", mount.join("keys.json")).unwrap();
    let file = mount.join("keys.json");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = Keyring::load(&file).unwrap_err();
    assert!(matches!(refused, KeyringError::ExposedMount { mode: 0o644, is_own: true, .. }));
    let told = refused.to_string();
    assert!(told.contains("defaultMode: 0400") && !told.contains("chmod"), "{told}");
    let others = KeyringError::ExposedMount { path: file, mode: 0o644, is_own: false }.to_string();
    assert!(others.contains("fsGroup in") && others.contains("defaultMode: 0440"), "{others}");
}

#[test]
fn what_is_no_regular_file_is_refused_at_once() {
    let place = place();
    create(&place);
    let folder = place.path.parent().unwrap();
    let pipe = folder.join("pipe");
    let made = std::process::Command::new("mkfifo").args(["-m", "600"]).arg(&pipe).status();
    assert!(made.unwrap().success());
    for path in [pipe.as_path(), folder, Path::new("/dev/null")] {
        // In the way of a wait that nobody would end.
        let (path, (tell, told)) = (path.to_owned(), std::sync::mpsc::channel());
        std::thread::spawn(move || {
            let made = Keyring::load_or_create(&path, LIFE, &SeededEntropy::new(7), &clock());
            tell.send(made.map(drop))
        });
        let refused = told.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(matches!(refused, Err(KeyringError::NoFile { .. })), "{refused:?}");
    }
}

#[test]
fn a_mounted_secret_may_be_a_symbolic_link() {
    let place = place();
    create(&place);
    let link = place.path.with_file_name("linked.json");
    symlink(&place.path, &link).unwrap();
    Keyring::load(&link).unwrap();
}

#[test]
fn a_missing_file_is_an_error_for_those_who_may_not_make_it() {
    let place = place();
    assert!(matches!(Keyring::load(&place.path), Err(KeyringError::Read { .. })));
    assert!(!place.path.exists());
}

#[test]
fn what_cannot_be_written_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let in_the_way = dir.path().join("file");
    fs::write(&in_the_way, "").unwrap();
    let path = in_the_way.join("keys.json");
    let refused = Keyring::load_or_create(&path, LIFE, &SeededEntropy::new(1), &clock());
    assert!(matches!(refused, Err(KeyringError::Read { .. } | KeyringError::Write { .. })));
}

#[test]
fn a_damaged_file_is_refused_without_showing_it() {
    let place = place();
    create(&place);
    let good = fs::read_to_string(&place.path).unwrap();
    let secret = good.split("\"key\": \"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    assert_eq!(secret.len(), 43);
    let cases = [
        String::new(),
        "null".to_owned(),
        good[..good.len() / 2].to_owned(),
        good.replace("\"kid\": 1", "\"kid\": \"1\""),
        good.replace("\"created\": 1795458491", &format!("\"created\": \"{secret}\"")),
        good.replace("\"state\": \"current\"", &format!("\"state\": \"{secret}\"")),
        good.replace("\"seal\"", &format!("\"{secret}\"")),
        good.replace("\"crv\"", "\"curve\""),
    ];
    for text in cases {
        fs::write(&place.path, &text).unwrap();
        let refused = Keyring::load(&place.path).unwrap_err();
        assert!(matches!(refused, KeyringError::Malformed { .. }), "{refused}");
        assert!(!format!("{refused} {refused:?}").contains(&secret), "{refused:?}");
    }
}

#[test]
fn another_version_is_refused_by_name() {
    for version in [0, 2, 99] {
        let refused = changed(|file| {
            *file = json!({ "version": version, "anything": "else" });
        });
        assert!(
            matches!(refused, Err(KeyringError::Version { found, .. }) if found == version),
            "{version}"
        );
    }
}

#[test]
fn keys_that_are_none_are_refused() {
    type Change = fn(&mut Value);
    let cases: &[(&str, Change)] = &[
        ("kid 0", |file| file["seal"][0]["kid"] = json!(0)),
        ("kid 16", |file| file["seal"][0]["kid"] = json!(16)),
        ("short", |file| file["seal"][0]["key"] = json!("AAAA")),
        ("padded", |file| file["seal"][0]["key"] = json!(format!("{}=", "A".repeat(43)))),
        ("not base64", |file| file["seal"][0]["key"] = json!("?".repeat(43))),
        ("another d", |file| file["sign"][0]["jwk"]["d"] = json!("A".repeat(42) + "E")),
        ("zero d", |file| file["sign"][0]["jwk"]["d"] = json!("A".repeat(43))),
        ("another x", |file| file["sign"][0]["jwk"]["x"] = file["sign"][0]["jwk"]["y"].clone()),
        ("another curve", |file| file["sign"][0]["jwk"]["crv"] = json!("P-384")),
        ("another alg", |file| file["sign"][0]["jwk"]["alg"] = json!("HS256")),
        ("another use", |file| file["sign"][0]["jwk"]["use"] = json!("enc")),
        ("no name", |file| file["sign"][0]["jwk"]["kid"] = json!("")),
    ];
    for (name, change) in cases {
        assert!(matches!(changed(change), Err(KeyringError::BadKey { .. })), "{name}");
    }
}

#[test]
fn exactly_one_key_of_a_use_is_current_and_ids_differ() {
    for state in ["previous", "next"] {
        for part in ["seal", "sign"] {
            let refused = changed(|file| file[part][0]["state"] = json!(state));
            assert!(matches!(refused, Err(KeyringError::Current { found: 0, .. })), "{part}");
        }
    }
    let twice = changed(|file| {
        let mut second = file["seal"][0].clone();
        second["kid"] = json!(2);
        file["seal"].as_array_mut().unwrap().push(second);
    });
    assert!(matches!(twice, Err(KeyringError::Current { found: 2, .. })));
    let nexts = changed(|file| {
        for kid in [2, 3] {
            let mut next = file["seal"][0].clone();
            next["kid"] = json!(kid);
            next["state"] = json!("next");
            file["seal"].as_array_mut().unwrap().push(next);
        }
    });
    assert!(matches!(nexts, Err(KeyringError::Next { found: 2, .. })));
    let same = changed(|file| {
        let mut second = file["sign"][0].clone();
        second["state"] = json!("previous");
        file["sign"].as_array_mut().unwrap().push(second);
    });
    assert!(matches!(same, Err(KeyringError::SameId { r#use: KeyUse::Sign, .. })));
}

#[test]
fn times_that_run_backwards_are_refused() {
    type Change = fn(&mut Value);
    let cases: &[(&str, Change, bool)] = &[
        ("as made", |_| {}, true),
        ("used before it was made", |key| key["current_since"] = json!(1), false),
        ("made after it was used", |key| key["created"] = json!(2_000_000_000), false),
        ("ended before it began", |key| key["superseded"] = json!(1_795_458_490), false),
        ("ended as it began", |key| key["superseded"] = json!(1_795_458_491), true),
    ];
    for (part, r#use) in [("seal", KeyUse::Seal), ("sign", KeyUse::Sign)] {
        for (name, change, good) in cases {
            match changed(|file| change(&mut file[part][0])) {
                Ok(_) => assert!(good, "{part} {name}"),
                Err(KeyringError::Times { r#use: told, .. }) if told == r#use => {
                    assert!(!good, "{part} {name}");
                }
                Err(error) => panic!("{part} {name}: {error}"),
            }
        }
    }
}

#[test]
fn an_earlier_key_opens_and_the_current_one_seals() {
    let first = place();
    let mut sealed = seal(create(&first).sealing(), b"before");
    let rotated = changed(|file| {
        file["seal"][0]["state"] = json!("previous");
        let new =
            json!({ "kid": 2, "state": "current", "created": 1, "key": "B".repeat(42) + "A" });
        file["seal"].as_array_mut().unwrap().push(new);
    })
    .unwrap();
    assert_eq!(rotated.sealing().kid().get(), 2);
    let earlier = rotated.opening(Kid::FIRST).unwrap();
    assert_eq!(earlier.open(Purpose::Link, [9; 12], b"aad", &mut sealed), Ok(&b"before"[..]));
    assert!(rotated.opening(Kid::new(3).unwrap()).is_none());
}

#[test]
fn a_seal_holds_for_one_purpose_one_binding_one_nonce_and_one_key() {
    let (ours, other) = (keys(1), keys(2));
    let sealed = seal(ours.sealing(), b"text");
    assert_eq!(sealed.len(), 4 + TAG_LEN);
    let open = |keys: &Keyring, purpose, nonce, aad: &[u8]| {
        keys.sealing().open(purpose, nonce, aad, &mut sealed.clone()).map(<[u8]>::to_vec)
    };
    assert_eq!(open(&ours, Purpose::Link, [9; 12], b"aad"), Ok(b"text".to_vec()));
    assert_eq!(open(&other, Purpose::Link, [9; 12], b"aad"), Err(BadSeal));
    assert_eq!(open(&ours, Purpose::Target, [9; 12], b"aad"), Err(BadSeal));
    assert_eq!(open(&ours, Purpose::CardRecord, [9; 12], b"aad"), Err(BadSeal));
    assert_eq!(open(&ours, Purpose::Link, [8; 12], b"aad"), Err(BadSeal));
    assert_eq!(open(&ours, Purpose::Link, [9; 12], b"aae"), Err(BadSeal));
    assert_eq!(ours.sealing().open(Purpose::Link, [9; 12], b"aad", &mut []), Err(BadSeal));
}

#[test]
fn signatures_verify_with_the_published_set_which_has_no_private_member() {
    let eddsa = |file: &mut Value| file["sign"][0] = sign_entry(SigningAlgorithm::EdDsa, 30);
    let members = ["alg", "crv", "kid", "kty", "use", "x"];
    verifies(&keys(3), &[&members[..], &["y"]].concat());
    let keys = changed(eddsa).unwrap();
    assert_eq!(keys.signing_key().algorithm(), jsonwebtoken::Algorithm::EdDSA);
    verifies(&keys, &members);
}

fn verifies(keys: &Keyring, members: &[&str]) {
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let claims = json!({ "sub": "x" });
    let key = keys.signing_key();
    let token = jsonwebtoken::encode(&key.header(), &claims, key.encoding_key()).unwrap();

    let text = keys.public_jwks();
    let set: jsonwebtoken::jwk::JwkSet = serde_json::from_str(&text).unwrap();
    let kid = jsonwebtoken::decode_header(&token).unwrap().kid.unwrap();
    let jwk = set.find(&kid).unwrap();
    let thumbprint = jwk.thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256).unwrap();
    assert_eq!(thumbprint, kid);
    let mut rules = jsonwebtoken::Validation::new(key.algorithm());
    rules.required_spec_claims.clear();
    rules.validate_exp = false;
    let verify = |jwk| {
        let key = jsonwebtoken::DecodingKey::from_jwk(jwk).unwrap();
        jsonwebtoken::decode::<Value>(&token, &key, &rules)
    };
    assert_eq!(verify(jwk).unwrap().claims, claims);
    let other: jsonwebtoken::jwk::JwkSet =
        serde_json::from_str(&self::keys(4).public_jwks()).unwrap();
    assert!(verify(&other.keys[0]).is_err());

    let tree: Value = serde_json::from_str(&text).unwrap();
    let mut found: Vec<&str> =
        tree["keys"][0].as_object().unwrap().keys().map(String::as_str).collect();
    found.sort_unstable();
    assert_eq!(found, members);
}

#[test]
fn an_eddsa_key_that_is_none_is_refused() {
    type Change = fn(&mut Value);
    let cases: &[(&str, Change)] = &[
        ("another d", |jwk| jwk["d"] = json!("A".repeat(43))),
        ("short d", |jwk| jwk["d"] = json!("AAAA")),
        ("a y", |jwk| jwk["y"] = jwk["x"].clone()),
        ("another kty", |jwk| jwk["kty"] = json!("EC")),
        ("another alg", |jwk| jwk["alg"] = json!("ES256")),
        ("another curve", |jwk| jwk["crv"] = json!("Ed448")),
    ];
    for (name, change) in cases {
        let refused = changed(|file| {
            file["sign"][0] = sign_entry(SigningAlgorithm::EdDsa, 30);
            change(&mut file["sign"][0]["jwk"]);
        });
        assert!(matches!(refused, Err(KeyringError::BadKey { .. })), "{name}");
    }
}

#[test]
fn a_key_whose_work_would_outlive_it_is_refused_unless_it_does_none() {
    let change = |which: usize, life: u64| {
        changed(|file| {
            let mut next = file["seal"][0].clone();
            next["kid"] = json!(2);
            next["state"] = json!("next");
            file["seal"].as_array_mut().unwrap().push(next);
            file["seal"][which]["longest_life"] = json!(life);
        })
        .unwrap()
    };
    for which in [0, 1] {
        let refused = change(which, LIFE.as_secs() - 1).lasting(LIFE).unwrap_err().to_string();
        assert!(refused.contains("23h 59m 59s at most"), "{refused}");
        change(which, LIFE.as_secs()).lasting(LIFE).unwrap();
    }
    let place = place();
    create(&place);
    let longer = DEFAULT_LONGEST_LIFE + Duration::from_secs(1);
    let refused = Keyring::load_or_create(&place.path, longer, &SeededEntropy::new(7), &clock());
    assert!(matches!(refused, Err(KeyringError::Life { .. })));
    fs::remove_file(&place.path).unwrap();
    Keyring::load_or_create(&place.path, longer, &SeededEntropy::new(7), &clock()).unwrap();
}

#[test]
fn a_fingerprint_is_the_same_for_the_same_keys_only() {
    let of = |change: &dyn Fn(&mut Value)| *changed(change).unwrap().fingerprint();
    let second = |state: &'static str| {
        move |file: &mut Value| {
            let new =
                json!({ "kid": 2, "state": state, "created": 1, "key": "B".repeat(42) + "A" });
            file["seal"].as_array_mut().unwrap().push(new);
        }
    };
    let one = of(&|_| {});
    let next = of(&second("next"));
    assert_eq!(one, of(&|_| {}));
    assert_eq!(one.to_string().len(), 33);
    assert_eq!((one.current() == next.current(), one.held() == next.held()), (true, false));
    let rotated = of(&|file| {
        second("current")(file);
        file["seal"][0]["state"] = json!("previous");
    });
    assert_eq!((rotated.current() == next.current(), rotated.held() == next.held()), (false, true));
    let turned = of(&|file| {
        second("next")(file);
        file["seal"].as_array_mut().unwrap().reverse();
    });
    assert_eq!(turned, next);
    let renamed = of(&|file| file["seal"][0]["kid"] = json!(3));
    assert_ne!(renamed.held(), one.held());
    let signing = of(&|file| file["sign"][0] = sign_entry(SigningAlgorithm::EdDsa, 31));
    assert_ne!((signing.current(), signing.held()), (one.current(), one.held()));
}

fn sign_entry(algorithm: SigningAlgorithm, seed: u64) -> Value {
    let now = UnixTime::from_secs(1);
    let course = Course {
        state: KeyState::Current,
        created: now,
        current_since: Some(now),
        superseded: None,
        longest_life: LONGEST_SIGNATURE,
    };
    let entry = sign::draw_sign_entry(algorithm, &course, &SeededEntropy::new(seed)).unwrap();
    serde_json::to_value(entry).unwrap()
}

#[test]
fn next_and_previous_signing_keys_are_published() {
    let rotated = changed(|file| {
        for (seed, state) in [(20, "next"), (21, "previous")] {
            let mut entry = sign_entry(SigningAlgorithm::Es256, seed);
            entry["state"] = json!(state);
            file["sign"].as_array_mut().unwrap().push(entry);
        }
    })
    .unwrap();
    let set: Value = serde_json::from_str(&rotated.public_jwks()).unwrap();
    assert_eq!(set["keys"].as_array().unwrap().len(), 3);
    assert_eq!(set["keys"][0]["kid"], rotated.signing_key().kid());
}

#[test]
fn nothing_secret_is_printed() {
    let place = place();
    let keyring = create(&place);
    let file: Value = serde_json::from_slice(&fs::read(&place.path).unwrap()).unwrap();
    let printed = format!("{keyring:?} {:?}", keyring.signing_key().encoding_key());
    for secret in [&file["seal"][0]["key"], &file["sign"][0]["jwk"]["d"]] {
        let secret = secret.as_str().unwrap();
        assert_eq!(secret.len(), 43);
        assert!(!printed.contains(secret));
    }
    assert!(printed.contains("SealKey(1, Current)"), "{printed}");
}

#[derive(Debug)]
struct Dry;

impl Entropy for Dry {
    fn fill(&self, _: &mut [u8]) -> Result<(), NoEntropy> {
        Err(NoEntropy)
    }
}

#[derive(Debug)]
struct Stuck;

impl Entropy for Stuck {
    fn fill(&self, out: &mut [u8]) -> Result<(), NoEntropy> {
        out.fill(0xff);
        Ok(())
    }
}

#[test]
fn without_randomness_there_are_no_keys() {
    assert!(matches!(Keyring::generate(&Dry, &clock()), Err(KeyringError::NoEntropy(_))));
    // All ones is beyond the order of the curve.
    assert!(matches!(Keyring::generate(&Stuck, &clock()), Err(KeyringError::Crypto)));
    let place = place();
    assert!(Keyring::load_or_create(&place.path, LIFE, &Dry, &clock()).is_err());
    assert!(!place.path.exists());
    Keyring::generate(&SystemEntropy::default(), &clock()).unwrap();
}
