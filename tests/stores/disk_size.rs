//! How large the file grows: as large as what is in it at the same time, however much comes and goes.

use std::fs;
use std::time::Duration;

use hookgate::clock::{Clock, ManualClock};
use hookgate::store::{Insert, Store};

use crate::backends::{START, key, nonce, opened, value};

const WAVES: u64 = 20;
/// Entries of one wave, none of which lives to see the next.
const WAVE: u64 = 10_000;
const LIFE: Duration = Duration::from_secs(60);
/// The disk store takes no more than a few thousand steps at once.
const AT_ONCE: usize = 2_000;

#[tokio::test]
async fn the_file_stays_as_large_as_what_is_in_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(START);
    let store = opened(folder.path(), 1_000_000, &clock);
    let mut sizes = Vec::new();
    for wave in 0..WAVES {
        let until = clock.now().plus(LIFE);
        let entries: Vec<u64> = (wave * WAVE..(wave + 1) * WAVE).collect();
        for some in entries.chunks(AT_ONCE) {
            let all = some.iter().map(|n| store.insert(key(*n), nonce(), value(*n), until));
            for first in futures_util::future::join_all(all).await {
                assert_eq!(first.unwrap(), Insert::First);
            }
        }
        assert!(store.fill().entries <= 2 * WAVE, "{:?} after wave {wave}", store.fill());
        sizes.push(fs::metadata(folder.path().join("state.redb")).unwrap().len());
        clock.advance(LIFE);
    }
    assert!(sizes[19] <= sizes[2], "{sizes:?}");
}
