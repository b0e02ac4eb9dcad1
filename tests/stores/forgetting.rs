//! A store that has forgotten says so: its incarnation is another.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hookgate::clock::ManualClock;
use hookgate::store::{Insert, Store};

use crate::backends::{START, at, key, nonce, open, opened, value};

/// What somebody does to a folder between two runs; `aside` is a copy made before the last spend.
type Deed = fn(folder: &Path, aside: &Path);

fn run(program: &str, arguments: &[&str]) {
    let done = Command::new(program).args(arguments).status().unwrap();
    assert!(done.success(), "{program} {arguments:?}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn mark_of(folder: &Path) -> std::path::PathBuf {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| text(path).contains("state.mark."))
        .unwrap()
}

const DEEDS: &[(&str, Deed)] = &[
    ("the file is removed", |folder, _| fs::remove_file(folder.join("state.redb")).unwrap()),
    ("the file is emptied", |folder, _| fs::write(folder.join("state.redb"), "").unwrap()),
    ("all is removed", |folder, _| {
        fs::remove_dir_all(folder).unwrap();
        fs::create_dir(folder).unwrap();
    }),
    ("an old copy is written into the file", |folder, aside| {
        fs::copy(aside.join("state.redb"), folder.join("state.redb")).unwrap();
    }),
    ("an old copy is moved over the file", |folder, aside| {
        fs::copy(aside.join("state.redb"), folder.join("new")).unwrap();
        fs::rename(folder.join("new"), folder.join("state.redb")).unwrap();
    }),
    ("the old folder is written into the new with all its times", |folder, aside| {
        run("cp", &["-a", &format!("{}/.", text(aside)), text(folder)]);
    }),
    ("the old folder is put in the place of the new", |folder, aside| {
        fs::remove_dir_all(folder).unwrap();
        run("cp", &["-a", text(aside), text(folder)]);
    }),
    ("the old folder is unpacked over the new", |folder, aside| {
        let archive = aside.join("../backup.tar");
        run("tar", &["-C", text(aside), "-cf", text(&archive), "."]);
        run("tar", &["-C", text(folder), "-xf", text(&archive)]);
    }),
    ("the file is replaced by a copy of itself", |folder, _| {
        fs::copy(folder.join("state.redb"), folder.join("copy")).unwrap();
        fs::rename(folder.join("copy"), folder.join("state.redb")).unwrap();
    }),
    ("the mark is removed", |folder, _| fs::remove_file(mark_of(folder)).unwrap()),
];

#[tokio::test]
async fn a_store_that_was_set_back_begins_a_new_history() {
    for (deed, act) in DEEDS {
        for spends_before_copy in [1, 20] {
            let place = tempfile::tempdir().unwrap();
            let (folder, aside) = (place.path().join("store"), place.path().join("aside"));
            let store = open(&folder);
            for n in 0..spends_before_copy {
                let first = store.insert(key(n), nonce(), value(n), at(60)).await.unwrap();
                assert_eq!(first, Insert::First);
            }
            let former = store.incarnation().unwrap();
            drop(store);
            run("cp", &["-a", text(&folder), text(&aside)]);
            let store = open(&folder);
            assert_eq!(store.incarnation().unwrap(), former, "a restart forgets nothing");
            assert!(!store.has_forgotten(), "a restart forgets nothing");
            let first = store.insert(key(100), nonce(), value(100), at(60)).await.unwrap();
            assert_eq!(first, Insert::First);
            drop(store);

            act(&folder, &aside);

            let clock = ManualClock::new(START);
            clock.advance(Duration::from_secs(5));
            let store = opened(&folder, 1000, &clock);
            let now = store.incarnation().unwrap();
            assert_ne!(now.mark, former.mark, "{deed}");
            assert_eq!(now.since, at(5), "{deed}");
            // An empty folder is what a first start finds, too.
            let told = *deed != "all is removed";
            assert_eq!(store.has_forgotten(), told, "{deed}");
            drop(store);
            let store = open(&folder);
            assert_eq!(store.has_forgotten(), told, "{deed}: known after a restart too");
            assert_eq!(store.incarnation().unwrap(), now, "{deed}: the new history lasts");
        }
    }
}

/// A copy made while the store runs: it is as old as its last commit, whatever its mark says.
#[tokio::test]
async fn a_copy_made_in_the_same_run_is_noticed() {
    let place = tempfile::tempdir().unwrap();
    let (folder, aside) = (place.path().join("store"), place.path().join("aside"));
    let store = open(&folder);
    let former = store.incarnation().unwrap();
    run("cp", &["-a", text(&folder), text(&aside)]);
    let first = store.insert(key(1), nonce(), value(1), at(60)).await.unwrap();
    assert_eq!(first, Insert::First);
    drop(store);
    run("cp", &["-a", &format!("{}/.", text(&aside)), text(&folder)]);
    assert_ne!(open(&folder).incarnation().unwrap().mark, former.mark);
}

#[tokio::test]
async fn moving_the_folder_is_no_forgetting() {
    let place = tempfile::tempdir().unwrap();
    let (folder, moved) = (place.path().join("store"), place.path().join("moved"));
    let store = open(&folder);
    let former = store.incarnation().unwrap();
    let first = store.insert(key(1), nonce(), value(1), at(60)).await.unwrap();
    assert_eq!(first, Insert::First);
    drop(store);
    fs::rename(&folder, &moved).unwrap();
    let store = open(&moved);
    assert_eq!(store.incarnation().unwrap(), former);
    assert_eq!(store.get(key(1)).await.unwrap(), Some(value(1)));
}
