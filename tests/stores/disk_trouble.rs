//! Disks that are full or read-only, as the kernel has them: answered in words, and nothing that was
//! answered before is lost.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hookgate::clock::ManualClock;
use hookgate::store::disk::DiskStore;
use hookgate::store::disk::opening::OpenError;
use hookgate::store::{Insert, Store, StoreError};
use tempfile::TempDir;

use crate::backends::{START, at, key, nonce, open, open_with, opened, value};
use crate::mounts::{Mounted, set_immutable};

const CAPACITY: u64 = 100_000;
/// When the store tries again at the latest.
const RETRY: Duration = Duration::from_secs(60);

/// A folder to mount on, and beside it room for the file system's image.
fn place() -> TempDir {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("disk")).unwrap();
    place
}

async fn insert(store: &DiskStore, n: u64) -> Result<Insert, StoreError> {
    store.insert(key(n), nonce(), value(n), at(7200)).await
}

/// What was kept is found, or it is said that it cannot be looked up now. It is never said to be unknown.
async fn assert_not_denied(store: &DiskStore, n: u64) {
    match store.get(key(n)).await {
        Ok(found) => assert_eq!(found, Some(value(n))),
        Err(error) => assert!(matches!(error, StoreError::Down(_)), "{error}"),
    }
}

async fn assert_down(store: &DiskStore, reason: &str, ns: std::ops::Range<u64>) {
    for n in ns {
        let error = insert(store, n).await.unwrap_err();
        assert!(matches!(error, StoreError::Down(_)), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
        assert!(matches!(store.ready().await, Err(StoreError::Down(_))));
        assert_not_denied(store, 0).await;
    }
}

#[tokio::test]
async fn a_read_only_file_system_is_refused_in_words() {
    let place = tempfile::tempdir().unwrap();
    let mounted = Mounted::tmpfs(place.path(), "4m");
    drop(open(place.path()));
    mounted.remount("ro");
    let error = open_with(place.path(), CAPACITY, &ManualClock::new(START)).unwrap_err();
    assert!(matches!(error, OpenError::Directory { .. }), "{error}");
    assert!(error.to_string().contains("Read-only file system"), "{error}");
    mounted.remount("rw");
    drop(open(place.path()));
}

#[tokio::test]
async fn a_folder_that_nobody_may_write_into_is_refused_in_words() {
    let place = place();
    let disk = place.path().join("disk");
    let _mounted = Mounted::ext4(&disk, &place.path().join("image"));
    let folder = disk.join("store");
    fs::create_dir(&folder).unwrap();
    set_immutable(&folder, true);
    let error = open_with(&folder, CAPACITY, &ManualClock::new(START)).unwrap_err();
    assert!(matches!(error, OpenError::Directory { .. }), "{error}");
    assert!(error.to_string().contains("must be writable for hookgate alone"), "{error}");
    set_immutable(&folder, false);
    drop(open(&folder));
}

/// What ext4 does after an error of its disk: from one moment to the next nothing can be written.
#[tokio::test]
async fn a_file_system_that_turns_read_only_is_answered_and_nothing_is_lost() {
    let place = place();
    let (disk, image) = (place.path().join("disk"), place.path().join("image"));
    let clock = ManualClock::new(START);
    let mounted = Mounted::ext4(&disk, &image);
    let store = opened(&disk.join("store"), CAPACITY, &clock);
    let incarnation = store.incarnation().unwrap();
    for n in 0..20 {
        assert_eq!(insert(&store, n).await.unwrap(), Insert::First);
    }
    mounted.remount("abort");
    assert_down(&store, "Read-only file system", 20..30).await;
    clock.advance(RETRY);
    assert_down(&store, "Read-only file system", 30..40).await;
    drop(store);
    let error = open_with(&disk.join("store"), CAPACITY, &clock).unwrap_err();
    assert!(error.to_string().contains("Read-only file system"), "{error}");

    drop(mounted);
    let _mounted = Mounted::ext4(&disk, &image);
    let store = opened(&disk.join("store"), CAPACITY, &clock);
    assert_eq!(store.incarnation().unwrap(), incarnation);
    for n in 0..20 {
        assert_eq!(insert(&store, n).await.unwrap(), Insert::Held(value(n)), "{n}");
    }
    assert_eq!(insert(&store, 50).await.unwrap(), Insert::First);
}

#[tokio::test]
async fn a_file_that_turns_read_only_is_answered_and_used_again_without_a_restart() {
    let place = place();
    let disk = place.path().join("disk");
    let _mounted = Mounted::ext4(&disk, &place.path().join("image"));
    let clock = ManualClock::new(START);
    let store = opened(&disk, CAPACITY, &clock);
    for n in 0..20 {
        assert_eq!(insert(&store, n).await.unwrap(), Insert::First);
    }
    let file = disk.join("state.redb");
    set_immutable(&file, true);
    assert_down(&store, "Operation not permitted", 20..30).await;
    clock.advance(RETRY);
    assert_down(&store, "Operation not permitted", 30..40).await;
    set_immutable(&file, false);
    clock.advance(RETRY);
    store.ready().await.unwrap();
    for n in 0..20 {
        assert_eq!(insert(&store, n).await.unwrap(), Insert::Held(value(n)), "{n}");
    }
    assert_eq!(insert(&store, 50).await.unwrap(), Insert::First);
}

/// A full disk, and many callers who find out at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_answered_and_left_behind_when_there_is_room_again() {
    let place = place();
    let disk = place.path().join("disk");
    let _mounted = Mounted::ext4(&disk, &place.path().join("image"));
    let clock = ManualClock::new(START);
    let store = Arc::new(opened(&disk, CAPACITY, &clock));
    assert_eq!(insert(&store, 0).await.unwrap(), Insert::First);
    let ballast = disk.join("ballast");
    fs::write(&ballast, vec![7; 8_000_000]).unwrap();

    let big = Bytes::from(vec![1; 20_000]);
    let callers: Vec<_> = (1..65)
        .map(|caller| {
            let (store, big) = (Arc::clone(&store), big.clone());
            tokio::spawn(async move {
                for (tried, n) in (caller..).step_by(64).enumerate() {
                    match store.insert(key(n), nonce(), big.clone(), at(7200)).await {
                        Ok(first) => assert_eq!(first, Insert::First),
                        Err(error) => return (n, tried, error),
                    }
                    assert!(tried < 100, "the disk never filled");
                }
                unreachable!()
            })
        })
        .collect();
    let mut kept = Vec::new();
    for (caller, task) in (1..).zip(callers) {
        let (failed, tried, error) = task.await.unwrap();
        assert!(matches!(error, StoreError::Down(_)), "{error}");
        assert!(error.to_string().contains("No space left on device"), "{error}");
        kept.extend((caller..failed).step_by(64));
        assert_eq!(u64::try_from(tried).unwrap(), (failed - caller) / 64);
    }
    assert!(!kept.is_empty());
    assert_not_denied(&store, 0).await;

    fs::remove_file(ballast).unwrap();
    clock.advance(RETRY);
    store.ready().await.unwrap();
    assert_eq!(store.get(key(0)).await.unwrap(), Some(value(0)));
    for n in kept {
        let again = store.insert(key(n), nonce(), value(0), at(7200)).await.unwrap();
        assert_eq!(again, Insert::Held(big.clone()), "{n}");
    }
    assert_eq!(insert(&store, 50_000).await.unwrap(), Insert::First);
}
