//! How long a start takes with a million entries in the file, and how large it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hookgate::store::Store;
use tokio::runtime::Runtime;

use crate::backends::Stand;
use crate::callers;
use crate::figures::{Effort, Times, ms};

pub(crate) fn measure(effort: Effort) {
    let runtime = Runtime::new().unwrap();
    let stand = Stand::disk();
    let folder = PathBuf::from(stand.state["directory"].as_str().unwrap());
    for entries in [effort.of(100_000), effort.of(1_000_000)] {
        let store = stand.open();
        let missing = entries - store.fill().entries;
        drop(callers::spends(&runtime, &store, 256, missing.div_ceil(256)));
        let entries = store.fill().entries;
        close(store);
        let size = fs::metadata(folder.join("state.redb")).unwrap().len();
        println!("{entries} entries, {} bytes in the file for each", size / entries);
        let took = Times::of(1, |_| close(stand.open()));
        println!("  after a close    {}", ms(took.p50()));
        as_after_a_crash(&folder);
        let took = Times::of(1, |_| close(stand.open()));
        println!("  after a crash    {}", ms(took.p50()));
    }
}

/// The last owner's drop closes the file.
fn close(store: Arc<dyn Store>) {
    assert_eq!(Arc::strong_count(&store), 1);
    drop(store);
}

/// The mark says whether the file was closed in good order.
fn as_after_a_crash(folder: &Path) {
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if let Some(open) = path.to_str().unwrap().strip_suffix(".closed") {
            fs::rename(&path, open).unwrap();
        }
    }
}
