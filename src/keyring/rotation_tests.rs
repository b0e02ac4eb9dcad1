//! Rotations of a real file, step by step, with gateways that are a step behind or ahead.

#[cfg(test)]
use super::*;

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;

use crate::audit::Audit;
use crate::clock::{Clock, ManualClock, UnixTime};
use crate::entropy::SystemEntropy;

const LIFE: Duration = Duration::from_secs(24 * 3600);
const BOTH: Wanted =
    Wanted { sealing: Some(Life::Exactly(LIFE)), signing: Some(SigningAlgorithm::EdDsa) };

struct Bench {
    _dir: tempfile::TempDir,
    path: PathBuf,
    clock: ManualClock,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        let bench =
            Self { _dir: dir, path, clock: ManualClock::new(UnixTime::from_secs(1_795_458_491)) };
        bench.writer().begin(SigningAlgorithm::Es256, LIFE).unwrap();
        bench
    }

    fn writer(&self) -> KeyFileWriter {
        KeyFileWriter {
            file: self.path.clone(),
            output: None,
            clock: Arc::new(self.clock.clone()),
            entropy: Arc::new(SystemEntropy::default()),
        }
    }

    fn ring(&self) -> Keyring {
        Keyring::load(&self.path).unwrap()
    }

    /// New keys, made current in time.
    fn rotate(&self) {
        self.writer().add(&BOTH, LIFE).unwrap();
        self.clock.advance(PROPAGATION);
        self.writer().rotate(PROPAGATION).unwrap();
    }

    fn text(&self) -> Vec<u8> {
        fs::read(&self.path).unwrap()
    }

    /// The use, id and state of each key.
    fn states(&self) -> Vec<(KeyUse, String, KeyState)> {
        let rows = self.ring().rows().into_iter();
        rows.map(|row| (row.r#use, row.kid, row.course.state)).collect()
    }

    fn sealing_states(&self) -> Vec<(String, KeyState)> {
        let seal = self.states().into_iter().filter(|(r#use, _, _)| *r#use == KeyUse::Seal);
        let mut found: Vec<_> = seal.map(|(_, kid, state)| (kid, state)).collect();
        found.sort_by_key(|(kid, _)| kid.parse::<u8>().unwrap());
        found
    }
}

fn sealed(ring: &Keyring) -> (Kid, Vec<u8>) {
    let mut bytes = b"text".to_vec();
    ring.sealing().seal(Purpose::Link, [9; NONCE_LEN], b"aad", &mut bytes, 0).unwrap();
    (ring.sealing().kid(), bytes)
}

fn opens(ring: &Keyring, (kid, bytes): &(Kid, Vec<u8>)) -> bool {
    let mut bytes = bytes.clone();
    ring.opening(*kid)
        .is_some_and(|key| key.open(Purpose::Link, [9; NONCE_LEN], b"aad", &mut bytes).is_ok())
}

#[test]
fn neighbours_in_a_rotation_open_and_verify_what_the_other_made() {
    let bench = Bench::new();
    let mut rings = vec![bench.ring()];
    for _ in 0..2 {
        bench.writer().add(&BOTH, LIFE).unwrap();
        rings.push(bench.ring());
        bench.clock.advance(PROPAGATION);
        bench.writer().rotate(PROPAGATION).unwrap();
        rings.push(bench.ring());
        bench.clock.advance(LIFE + MARGIN);
        bench.writer().retire().unwrap();
        rings.push(bench.ring());
    }
    for pair in rings.windows(2) {
        let (behind, ahead) = (&pair[0], &pair[1]);
        assert!(opens(ahead, &sealed(behind)) && opens(behind, &sealed(ahead)), "{pair:?}");
        let publishes = |ring: &Keyring, other: &Keyring| {
            ring.public_jwks().contains(other.signing_key().kid())
        };
        assert!(publishes(ahead, behind) && publishes(behind, ahead), "{pair:?}");
    }
    // Two steps at once would not do: that is why there are two.
    assert!(!opens(&rings[0], &sealed(&rings[2])));
}

#[test]
fn each_step_writes_down_what_it_did_and_when() {
    let bench = Bench::new();
    let made = bench.clock.now();
    bench.clock.advance(Duration::from_secs(5));
    let step = bench.writer().add(&BOTH, LIFE).unwrap();
    assert_eq!(step.changed.len(), 2);
    assert_eq!(
        bench.sealing_states(),
        [("1".to_owned(), KeyState::Current), ("2".to_owned(), KeyState::Next)]
    );
    bench.clock.advance(PROPAGATION);
    let rotated = bench.clock.now();
    bench.writer().rotate(PROPAGATION).unwrap();
    let rows = bench.ring().rows();
    let row = |kid: &str| rows.iter().find(|row| row.kid == kid).unwrap().course;
    let course = row("1");
    assert_eq!((course.state, course.created), (KeyState::Previous, made));
    assert_eq!((course.current_since, course.superseded), (Some(made), Some(rotated)));
    assert_eq!(course.retirable_from(), Some(rotated.plus(LIFE).plus(MARGIN)));
    let course = row("2");
    assert_eq!((course.state, course.current_since), (KeyState::Current, Some(rotated)));
    assert_eq!(bench.ring().signing_key().algorithm(), jsonwebtoken::Algorithm::EdDSA);
}

#[test]
fn a_key_becomes_current_when_everybody_can_have_it_and_not_before() {
    let bench = Bench::new();
    assert!(matches!(bench.writer().rotate(PROPAGATION), Err(RotationError::NoNext)));
    bench.writer().add(&BOTH, LIFE).unwrap();
    let (from, before) = (bench.clock.now().plus(PROPAGATION), bench.text());
    bench.clock.advance(PROPAGATION - Duration::from_secs(1));
    let refused = bench.writer().rotate(PROPAGATION).unwrap_err();
    assert!(matches!(refused, RotationError::TooYoung { from: told, .. } if told == from));
    assert_eq!(bench.text(), before);
    // A clock that was set back makes no key older.
    bench.clock.set(UnixTime::from_secs(1));
    assert!(matches!(bench.writer().rotate(PROPAGATION), Err(RotationError::TooYoung { .. })));
    bench.clock.set(from);
    bench.writer().rotate(PROPAGATION).unwrap();
    bench.writer().add(&BOTH, LIFE).unwrap();
    bench.writer().rotate(Duration::ZERO).unwrap();
}

#[test]
fn a_clock_that_is_behind_lets_no_key_go_too_early() {
    let bench = Bench::new();
    let made = bench.clock.now();
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    bench.rotate();
    let first = bench.clock.now();
    bench.clock.advance(hours(5));
    bench.writer().add(&BOTH, LIFE).unwrap();
    let added = bench.clock.now();
    let token = sealed(&bench.ring());
    for behind in [made.minus(hours(100)), made, first, added.minus(hours(1))] {
        let text = bench.text();
        bench.clock.set(behind);
        bench.writer().rotate(Duration::ZERO).unwrap();
        let rows = bench.ring().rows();
        assert!(rows.iter().all(|row| !row.course.runs_backwards()), "{rows:?}");
        let row = |kid: &str| rows.iter().find(|row| row.kid == kid).unwrap().course;
        assert_eq!((row("2").superseded, row("3").current_since), (Some(added), Some(added)));
        // The right time again.
        bench.clock.set(added.plus(LIFE));
        let _ = bench.writer().retire();
        assert!(opens(&bench.ring(), &token), "what it made last is alive");
        bench.clock.set(added.plus(LIFE + MARGIN));
        bench.writer().retire().unwrap();
        assert!(!opens(&bench.ring(), &token));
        fs::write(&bench.path, text).unwrap();
    }
}

#[test]
fn a_key_of_one_use_rotates_alone() {
    let bench = Bench::new();
    let before = bench.ring();
    bench.writer().add(&Wanted { sealing: None, ..BOTH }, LIFE).unwrap();
    bench.writer().rotate(Duration::ZERO).unwrap();
    assert_eq!(bench.ring().sealing().kid(), before.sealing().kid());
    assert_ne!(bench.ring().signing_key().kid(), before.signing_key().kid());
    bench.writer().add(&Wanted { signing: None, ..BOTH }, LIFE).unwrap();
    assert_eq!(bench.ring().public_jwks().matches("\"kid\"").count(), 2);
}

#[test]
fn one_next_key_of_a_use_at_a_time() {
    let bench = Bench::new();
    bench.writer().add(&Wanted { signing: None, ..BOTH }, LIFE).unwrap();
    let before = bench.text();
    for wanted in [BOTH, Wanted { signing: None, ..BOTH }] {
        let refused = bench.writer().add(&wanted, LIFE).unwrap_err();
        assert!(matches!(refused, RotationError::NextExists { r#use: KeyUse::Seal, .. }));
    }
    assert_eq!(bench.text(), before, "a signing key was added although its twin was not");
    bench.writer().add(&Wanted { sealing: None, ..BOTH }, LIFE).unwrap();
}

#[test]
fn ids_come_again_as_late_as_can_be_and_run_out_at_fifteen() {
    let bench = Bench::new();
    let sealing = Wanted { signing: None, ..BOTH };
    for number in 2..=15 {
        bench.writer().add(&sealing, LIFE).unwrap();
        bench.writer().rotate(Duration::ZERO).unwrap();
        assert_eq!(bench.ring().sealing().kid().get(), number);
    }
    assert!(matches!(bench.writer().add(&sealing, LIFE), Err(RotationError::NoFreeKid)));
    for kid in ["7", "3"] {
        bench.writer().force_out(kid).unwrap();
    }
    for number in [3, 7] {
        bench.writer().add(&sealing, LIFE).unwrap();
        bench.writer().rotate(Duration::ZERO).unwrap();
        assert_eq!(bench.ring().sealing().kid().get(), number);
    }
}

#[test]
fn a_key_goes_when_nothing_that_it_made_can_be_alive_and_not_before() {
    let bench = Bench::new();
    assert!(matches!(bench.writer().retire(), Err(RotationError::NoPrevious)));
    bench.rotate();
    let token = sealed(&bench.ring());
    bench.rotate();
    let before = bench.text();
    let refused = bench.writer().retire().unwrap_err();
    let RotationError::Needed(staying) = &refused else { panic!("{refused}") };
    assert_eq!(staying.len(), 4);
    assert!(refused.to_string().contains("seal 1: may go from 2026-11-24T19:38:11Z"), "{refused}");
    assert_eq!(bench.text(), before);

    // What signs is done with sooner than what seals.
    bench.clock.advance(LONGEST_SIGNATURE + MARGIN);
    let step = bench.writer().retire().unwrap();
    assert!(step.changed.iter().all(|row| row.r#use == KeyUse::Sign), "{step:?}");
    assert_eq!((step.changed.len(), step.staying.len()), (2, 2));
    // The first went ten minutes before the second.
    bench.clock.advance(LIFE + MARGIN - (LONGEST_SIGNATURE + MARGIN) - Duration::from_secs(1));
    let step = bench.writer().retire().unwrap();
    assert_eq!((step.changed[0].kid.as_str(), step.staying[0].kid.as_str()), ("1", "2"));
    assert!(opens(&bench.ring(), &token));
    assert!(matches!(bench.writer().retire(), Err(RotationError::Needed(_))));
    bench.clock.advance(Duration::from_secs(1));
    bench.writer().retire().unwrap();
    assert!(!opens(&bench.ring(), &token));
    assert_eq!(bench.sealing_states(), [("3".to_owned(), KeyState::Current)]);
}

#[test]
fn a_leaked_key_goes_at_once_but_not_while_it_is_in_use() {
    let bench = Bench::new();
    let refused = bench.writer().force_out("1").unwrap_err();
    assert!(matches!(refused, RotationError::InUse { r#use: KeyUse::Seal, .. }));
    assert!(matches!(bench.writer().force_out("9"), Err(RotationError::NoSuchKey { .. })));
    let signing = bench.ring().signing_key().kid().to_owned();
    bench.writer().add(&BOTH, LIFE).unwrap();
    bench.writer().rotate(Duration::ZERO).unwrap();
    bench.writer().force_out("1").unwrap();
    bench.writer().force_out(&signing).unwrap();
    assert_eq!(bench.sealing_states(), [("2".to_owned(), KeyState::Current)]);
    assert!(!bench.ring().public_jwks().contains(&signing));
    bench.writer().add(&BOTH, LIFE).unwrap();
    bench.writer().force_out("3").unwrap();
    assert_eq!(bench.sealing_states(), [("2".to_owned(), KeyState::Current)]);
}

#[test]
fn a_key_for_less_than_is_configured_is_not_made() {
    let bench = Bench::new();
    let before = bench.text();
    let short = Wanted { sealing: Some(Life::Exactly(LIFE - Duration::from_secs(1))), ..BOTH };
    let refused = bench.writer().add(&short, LIFE).unwrap_err();
    assert!(matches!(refused, RotationError::File(KeyringError::Life { kid: 2, .. })), "{refused}");
    assert_eq!(bench.text(), before);
    // A key for longer may be made while the current one is too short: that is how one gets there.
    let long = LIFE + LIFE;
    bench.writer().add(&Wanted { sealing: Some(Life::Exactly(long)), ..BOTH }, long).unwrap();
    assert!(bench.ring().lasting(long).is_err());
    bench.writer().rotate(Duration::ZERO).unwrap();
    bench.ring().lasting(long).unwrap();
}

#[test]
fn a_next_key_is_for_no_less_than_the_current_one_unless_that_is_wanted() {
    let second = Duration::from_secs(1);
    let table = [
        (Life::AtLeast(second), Duration::ZERO, Some(LIFE)),
        (Life::AtLeast(LIFE + second), Duration::ZERO, Some(LIFE + second)),
        (Life::AtLeast(second), LIFE + second, Some(LIFE + second)),
        (Life::Exactly(LIFE), LIFE, Some(LIFE)),
        (Life::Exactly(LIFE - second), Duration::ZERO, None),
        (Life::EvenShorter(LIFE - second), Duration::ZERO, Some(LIFE - second)),
        (Life::EvenShorter(LIFE - second), LIFE - second, Some(LIFE - second)),
    ];
    for (life, configured, made) in table {
        let bench = Bench::new();
        let before = bench.text();
        let wanted = Wanted { sealing: Some(life), signing: None };
        match (bench.writer().add(&wanted, configured), made) {
            (Ok(step), Some(made)) => assert_eq!(step.changed[0].course.longest_life, made),
            (Err(refused), None) => {
                assert!(matches!(refused, RotationError::Shorter { current: LIFE, .. }));
                assert!(refused.to_string().contains("--shorter"), "{refused}");
                assert_eq!(bench.text(), before);
            }
            (result, _) => panic!("{life:?}: {result:?}"),
        }
    }
    let bench = Bench::new();
    let short = Wanted { sealing: Some(Life::EvenShorter(second)), signing: None };
    let refused = bench.writer().add(&short, LIFE).unwrap_err();
    assert!(matches!(refused, RotationError::File(KeyringError::Life { .. })), "{refused}");
}

#[test]
fn a_file_keeps_its_mode_and_owner_and_a_link_its_target() {
    let bench = Bench::new();
    let link = bench.path.with_file_name("link.json");
    symlink(&bench.path, &link).unwrap();
    fs::set_permissions(&bench.path, fs::Permissions::from_mode(0o400)).unwrap();
    // Only root can give a file away; without, the owner is the same before and after anyway.
    let given = chown(&bench.path, Some(12_345), Some(12_345)).is_ok();
    let before = fs::metadata(&bench.path).unwrap();
    KeyFileWriter { file: link.clone(), ..bench.writer() }.add(&BOTH, LIFE).unwrap();
    let after = fs::metadata(&bench.path).unwrap();
    assert_eq!(after.mode(), before.mode());
    assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
    assert_eq!(given, after.uid() == 12_345);
    assert_ne!(after.ino(), before.ino());
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[test]
fn a_group_may_read_what_another_user_put_there() {
    let bench = Bench::new();
    if chown(&bench.path, Some(12_345), None).is_err() {
        return;
    }
    for (mode, good) in [(0o440, true), (0o640, true), (0o460, false), (0o444, false)] {
        fs::set_permissions(&bench.path, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(Keyring::load(&bench.path).is_ok(), good, "{mode:o}");
    }
}

#[test]
fn a_mounted_secret_is_not_changed_in_place_but_into_another_file() {
    let bench = Bench::new();
    let mount = bench.path.with_file_name("mount");
    fs::create_dir_all(mount.join("..2026_11_24")).unwrap();
    fs::rename(&bench.path, mount.join("..2026_11_24/keys.json")).unwrap();
    symlink("..2026_11_24", mount.join("..data")).unwrap();
    symlink("..data/keys.json", mount.join("keys.json")).unwrap();
    let writer = KeyFileWriter { file: mount.join("keys.json"), ..bench.writer() };
    let refused = writer.add(&BOTH, LIFE).unwrap_err();
    assert!(matches!(refused, RotationError::Mounted { .. }));
    assert!(refused.to_string().contains("--output"), "{refused}");

    let writer = KeyFileWriter { output: Some(bench.path.clone()), ..writer };
    writer.add(&BOTH, LIFE).unwrap();
    assert_eq!(bench.ring().rows().len(), 4);
    assert_eq!(Keyring::load(&mount.join("keys.json")).unwrap().rows().len(), 2);
    assert_eq!(fs::metadata(&bench.path).unwrap().mode() & 0o7777, 0o600);
    let before = bench.text();
    assert!(matches!(writer.add(&BOTH, LIFE), Err(RotationError::Exists { .. })));
    assert!(matches!(
        bench.writer().begin(SigningAlgorithm::Es256, LIFE),
        Err(RotationError::Exists { .. })
    ));
    assert_eq!(bench.text(), before);
}

#[test]
fn what_a_writer_left_that_was_killed_is_no_key_file_and_is_swept() {
    let bench = Bench::new();
    let name = |end: &str| bench.path.with_file_name(format!("keys.json.{end}"));
    let (draft, other) = (name("00112233aabbccdd"), name("backup"));
    let whole = bench.text();
    for length in [0, whole.len() / 2, whole.len()] {
        fs::write(&draft, &whole[..length]).unwrap();
        fs::write(&other, &whole).unwrap();
        bench.ring();
        bench.rotate();
        assert!(!draft.exists() && other.exists());
    }
}

#[test]
fn a_writer_that_cannot_leaves_the_file_as_it_was() {
    let bench = Bench::new();
    let before = bench.text();
    let writer = KeyFileWriter { entropy: Arc::new(Dry), ..bench.writer() };
    assert!(writer.add(&BOTH, LIFE).is_err());
    let nowhere = KeyFileWriter { output: Some(bench.path.join("x")), ..bench.writer() };
    assert!(nowhere.add(&BOTH, LIFE).is_err());
    assert_eq!(bench.text(), before);
    assert_eq!(fs::read_dir(bench.path.parent().unwrap()).unwrap().count(), 1, "a draft was left");
}

#[derive(Debug)]
struct Dry;

impl crate::entropy::Entropy for Dry {
    fn fill(&self, _: &mut [u8]) -> Result<(), crate::entropy::NoEntropy> {
        Err(crate::entropy::NoEntropy)
    }
}

#[test]
fn of_several_writers_one_wins_and_the_others_are_told() {
    let bench = Bench::new();
    let held = File::open(&bench.path).unwrap();
    held.try_lock().unwrap();
    let before = bench.text();
    assert!(matches!(bench.writer().add(&BOTH, LIFE), Err(RotationError::Busy { .. })));
    assert_eq!(bench.text(), before);
    drop(held);

    bench.writer().add(&BOTH, LIFE).unwrap();
    let start = std::sync::Barrier::new(8);
    let results: Vec<_> = std::thread::scope(|scope| {
        let rotate = || {
            start.wait();
            bench.writer().rotate(Duration::ZERO)
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(rotate)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
    for told in results.into_iter().filter_map(Result::err) {
        assert!(matches!(told, RotationError::Busy { .. } | RotationError::NoNext), "{told}");
    }
    assert_eq!(
        bench.sealing_states(),
        [("1".to_owned(), KeyState::Previous), ("2".to_owned(), KeyState::Current)]
    );
}

/// A ring in use, its watch, and what can be scraped.
fn watched(bench: &Bench, path: &Path) -> (Arc<LiveKeyring>, KeyFileWatch, Registry) {
    let mut registry = Registry::default();
    let live = Arc::new(LiveKeyring::new(bench.ring(), bench.clock.now()));
    let metrics = Metrics::register(&mut registry, Arc::clone(&live));
    let clock = Arc::new(bench.clock.clone());
    let life = tokio::sync::watch::channel(LIFE).1;
    let watch =
        KeyFileWatch::new(path.to_owned(), life, Arc::clone(&live), clock, metrics, Audit::off());
    (live, watch, registry)
}

fn scrape(registry: &Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    text
}

#[test]
fn each_step_is_taken_up() {
    let bench = Bench::new();
    let (live, mut watch, registry) = watched(&bench, &bench.path);
    let took = |watch: &mut KeyFileWatch| {
        watch.look();
        let same = live.ring().rows() == bench.ring().rows();
        same && live.ring().fingerprint() == bench.ring().fingerprint()
    };
    assert!(took(&mut watch));
    let first = live.ring();
    bench.clock.advance(Duration::from_secs(60));
    fs::write(&bench.path, [bench.text(), b"\n".to_vec()].concat()).unwrap();
    assert!(took(&mut watch));
    assert!(Arc::ptr_eq(&first, &live.ring()), "the same keys are no other ring");
    bench.writer().add(&BOTH, LIFE).unwrap();
    assert!(took(&mut watch));
    assert!(scrape(&registry).contains(r#"key{kind="seal",kid="2",state="next"} 1"#));
    bench.clock.advance(PROPAGATION);
    bench.writer().rotate(PROPAGATION).unwrap();
    assert!(took(&mut watch));
    let (text, fingerprint) = (scrape(&registry), *live.ring().fingerprint());
    assert!(text.contains(r#"key{kind="seal",kid="2",state="current"} 1"#), "{text}");
    assert!(text.contains(&fingerprint.current()) && text.contains(&fingerprint.held()), "{text}");
    let now = format!("loaded_timestamp_seconds {}\n", bench.clock.now().secs());
    assert!(text.contains(&now), "{text}");
    bench.writer().force_out("1").unwrap();
    assert!(took(&mut watch));
    assert!(!opens(&live.ring(), &sealed(&first)));
    assert!(scrape(&registry).contains("reload_failures_total 0\n"));
}

#[test]
fn a_bad_file_is_refused_as_a_whole_and_told_once() {
    type Spoil = fn(&Path);
    let spoils: &[(&str, Spoil)] = &[
        ("missing", |path| fs::remove_file(path).unwrap()),
        ("empty", |path| fs::write(path, "").unwrap()),
        ("half", |path| {
            let text = fs::read(path).unwrap();
            fs::write(path, &text[..text.len() / 2]).unwrap();
        }),
        ("exposed", |path| {
            fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        }),
        ("later version", |path| fs::write(path, r#"{"version":2}"#).unwrap()),
        ("no current key", |path| {
            let text = fs::read_to_string(path).unwrap();
            fs::write(path, text.replacen("\"current\"", "\"previous\"", 1)).unwrap();
        }),
        ("times that run backwards", |path| {
            let text = fs::read_to_string(path).unwrap();
            fs::write(path, text.replacen("\"created\": 1", "\"created\": 2", 1)).unwrap();
        }),
        ("shorter lives", |path| {
            let text = fs::read_to_string(path).unwrap();
            fs::write(path, text.replace("\"longest_life\": 86400", "\"longest_life\": 86399"))
                .unwrap();
        }),
        ("a folder", |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
    ];
    for (name, spoil) in spoils {
        let bench = Bench::new();
        let (live, mut watch, registry) = watched(&bench, &bench.path);
        watch.look();
        let (before, good) = (live.ring(), bench.text());
        bench.writer().add(&BOTH, LIFE).unwrap();
        let next = bench.text();
        spoil(&bench.path);
        for _ in 0..3 {
            watch.look();
            assert!(Arc::ptr_eq(&before, &live.ring()), "{name}");
            let text = scrape(&registry);
            assert!(text.contains("reload_failures_total 1\n"), "{name}: {text}");
            assert!(text.contains("file_refused 1\n"), "{name}: {text}");
        }
        if bench.path.is_dir() {
            fs::remove_dir(&bench.path).unwrap();
        }
        let replacement = bench.path.with_file_name("new");
        for (text, keys) in [(good, 2), (next, 4)] {
            fs::write(&replacement, text).unwrap();
            fs::set_permissions(&replacement, fs::Permissions::from_mode(0o600)).unwrap();
            fs::rename(&replacement, &bench.path).unwrap();
            watch.look();
            assert_eq!(live.ring().rows().len(), keys, "{name}");
            assert!(scrape(&registry).contains("file_refused 0\n"), "{name}");
        }
    }
}

#[test]
fn a_swapped_link_is_another_file() {
    let bench = Bench::new();
    let folder = bench.path.parent().unwrap();
    for version in ["one", "two"] {
        fs::create_dir(folder.join(version)).unwrap();
        fs::copy(&bench.path, folder.join(version).join("keys.json")).unwrap();
    }
    let second = KeyFileWriter { file: folder.join("two/keys.json"), ..bench.writer() };
    second.add(&BOTH, LIFE).unwrap();
    symlink("one", folder.join("..data")).unwrap();
    symlink("..data/keys.json", folder.join("mounted.json")).unwrap();
    let (live, mut watch, _registry) = watched(&bench, &folder.join("mounted.json"));
    watch.look();
    assert_eq!(live.ring().rows().len(), 2);
    symlink("two", folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    watch.look();
    assert_eq!(live.ring().rows().len(), 4);
}

#[test]
fn keys_that_vanish_although_they_are_needed_are_named() {
    let bench = Bench::new();
    let first = bench.ring();
    bench.rotate();
    let rotated = bench.ring();
    bench.writer().force_out("1").unwrap();
    let forced = bench.ring();
    let missing = |ring: &Keyring, earlier: &Keyring, now| {
        let rows = ring.missing(earlier, now);
        rows.into_iter().map(|row| row.kid).collect::<Vec<_>>()
    };
    let now = bench.clock.now();
    assert_eq!(missing(&rotated, &first, now), [""; 0]);
    assert_eq!(missing(&forced, &rotated, now), ["1"]);
    assert_eq!(missing(&forced, &rotated, now.plus(LIFE + MARGIN)), [""; 0]);
    let other = Bench::new();
    assert_eq!(missing(&other.ring(), &first, now).len(), 2, "the same id is not the same key");
}
