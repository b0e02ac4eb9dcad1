//! Opening: what survives, what is refused, and in which words.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use hookgate::clock::ManualClock;
use hookgate::entropy::SystemEntropy;
use hookgate::store::disk::opening::OpenError;
use hookgate::store::{Backend, Insert, Settings, Store};
use redb::{Database, TableDefinition};

use crate::backends::{START, at, key, nonce, open, open_with, value};

const ABOUT: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("about");

fn refusal(folder: &Path) -> OpenError {
    open_with(folder, 10, &ManualClock::new(START)).unwrap_err()
}

#[tokio::test]
async fn entries_and_incarnation_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let (incarnation, mine) = (store.incarnation().unwrap(), nonce());
    assert_eq!(store.insert(key(1), mine, value(1), at(60)).await.unwrap(), Insert::First);
    drop(store);
    let store = open(folder.path());
    assert_eq!(store.incarnation().unwrap(), incarnation);
    assert_eq!(store.fill().entries, 1);
    assert_eq!(store.get(key(1)).await.unwrap(), Some(value(1)));
    let again = store.insert(key(1), nonce(), value(2), at(60)).await.unwrap();
    assert_eq!(again, Insert::Held(value(1)));
    assert_eq!(store.insert(key(1), mine, value(1), at(60)).await.unwrap(), Insert::First);
}

#[tokio::test]
async fn files_are_for_their_owner_alone() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("var/lib");
    let store = open(&folder);
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    for entry in fs::read_dir(&folder).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", entry.path());
    }
    drop(store);
}

#[test]
fn the_settings_choose_the_backend() {
    let place = tempfile::tempdir().unwrap();
    for backend in [Backend::Memory, Backend::Disk] {
        let directory = place.path().join("store");
        let settings = Settings { backend, directory, max_entries: 7, ..Settings::default() };
        let clock = Arc::new(ManualClock::new(START));
        let store =
            hookgate::store::open(&settings, clock, Arc::new(SystemEntropy::default())).unwrap();
        assert_eq!(store.fill().capacity, 7);
        assert_eq!(settings.directory.exists(), backend == Backend::Disk);
    }
}

#[tokio::test]
async fn a_second_opener_is_refused_and_the_first_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let error = refusal(folder.path());
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("already in use by another hookgate"), "{error}");
    let first = store.insert(key(1), nonce(), value(1), at(60)).await.unwrap();
    assert_eq!(first, Insert::First);
    drop(store);
    drop(open(folder.path()));
}

#[tokio::test]
async fn the_lock_is_let_go_when_its_holder_is_dropped_also_with_work_left() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..20 {
        let store = open(folder.path());
        let mut asked = Box::pin(store.insert(key(n), nonce(), value(n), at(60)));
        let _ = futures_util::poll!(&mut asked);
        drop(asked);
        drop(store);
    }
    assert_eq!(open(folder.path()).fill().entries, 20);
}

#[test]
fn an_unknown_schema_is_refused_and_left_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let write = |schema: u64| {
        let database = Database::open(folder.path().join("state.redb")).unwrap();
        let transaction = database.begin_write().unwrap();
        let mut about = transaction.open_table(ABOUT).unwrap();
        about.insert("schema", schema.to_be_bytes().as_slice()).unwrap();
        drop(about);
        transaction.commit().unwrap();
    };
    for schema in [1, 3] {
        write(schema);
        for _ in 0..2 {
            let error = refusal(folder.path());
            assert!(
                matches!(error, OpenError::Schema { found, known: 2, .. } if found == schema),
                "{error}"
            );
            assert!(error.to_string().contains("run the version that wrote it"), "{error}");
        }
    }
    write(2);
    drop(open(folder.path()));
}

#[test]
fn a_file_of_somebody_else_is_refused_and_left_as_it_was() {
    for text in ["SQLite format 3", "{}", &"x".repeat(100_000)] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.redb");
        fs::write(&file, text).unwrap();
        let error = refusal(folder.path());
        assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
        assert!(error.to_string().contains("move its state.redb away"), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
    }
    let folder = tempfile::tempdir().unwrap();
    let database = Database::create(folder.path().join("state.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    let other: TableDefinition<'_, u64, u64> = TableDefinition::new("other");
    drop(transaction.open_table(other).unwrap());
    transaction.commit().unwrap();
    drop(database);
    let error = refusal(folder.path());
    assert!(error.to_string().contains("not made by hookgate"), "{error}");
}

#[tokio::test]
async fn damage_is_refused_or_harmless_and_never_a_panic() {
    let place = tempfile::tempdir().unwrap();
    let sound = place.path().join("sound");
    let store = open(&sound);
    for n in 0..50 {
        let first = store.insert(key(n), nonce(), value(n), at(60)).await.unwrap();
        assert_eq!(first, Insert::First);
    }
    drop(store);
    let bytes = fs::read(sound.join("state.redb")).unwrap();
    let folder = place.path().join("damaged");
    let mut refused = 0;
    for step in 0..60 {
        let mut damaged = bytes.clone();
        let from = bytes.len() * step / 60;
        if step % 2 == 0 {
            damaged.truncate(from.max(1));
        } else {
            damaged[from..].iter_mut().take(2_000).for_each(|byte| *byte ^= 0xff);
        }
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("state.redb"), damaged).unwrap();
        match open_with(&folder, 100, &ManualClock::new(START)) {
            Err(OpenError::Damaged { .. } | OpenError::Disk { .. }) => refused += 1,
            Err(other) => panic!("{other}"),
            // Where nothing was hit, nothing is lost.
            Ok(store) => {
                for n in 0..50 {
                    assert_eq!(store.get(key(n)).await.unwrap(), Some(value(n)), "{step}");
                }
            }
        }
        fs::remove_dir_all(&folder).unwrap();
    }
    assert!(refused > 20, "{refused}");
}

#[test]
fn a_folder_that_cannot_be_used_is_refused_in_words() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("file"), "").unwrap();
    let places = [place.path().join("file"), place.path().join("file/below"), "/proc/store".into()];
    for folder in places {
        let error = refusal(&folder);
        assert!(matches!(error, OpenError::Directory { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(folder.to_str().unwrap()), "{text}");
        assert!(text.contains("must be writable"), "{text}");
    }
}
