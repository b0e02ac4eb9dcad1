//! Hears of changes in the folders of files.
//!
//! Folders and not files are watched: a file that is replaced, as editors do, and Kubernetes with the folder
//! that `..data` points to, leaves a watch on the file behind with the file from before. What is heard is no
//! more than a reason to look; whether anything has changed, its content says.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

/// A watch on some folders, until it is dropped.
#[derive(Debug)]
pub(crate) struct Watching {
    heard: Arc<Notify>,
    /// Its thread ends with it.
    _watcher: Option<RecommendedWatcher>,
}

impl Watching {
    /// Hears of nothing.
    pub(crate) fn nothing() -> Self {
        Self { heard: Arc::default(), _watcher: None }
    }

    /// Watches these. One that cannot be watched is told in the log, and left to whoever looks now and then.
    pub(crate) fn on(folders: &BTreeSet<PathBuf>) -> Self {
        let heard = Arc::new(Notify::new());
        let tell = Arc::clone(&heard);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // That a file was opened says nothing, and the one who looks opens them all.
            let is_news = event.map_or(true, |event| !matches!(event.kind, EventKind::Access(_)));
            if is_news {
                tell.notify_one();
            }
        });
        let watcher = match watcher {
            Ok(mut watcher) => {
                for folder in folders {
                    if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                        unwatched(&folder.display().to_string(), &error);
                    }
                }
                Some(watcher)
            }
            Err(error) => {
                unwatched("no folder at all", &error);
                None
            }
        };
        Self { heard, _watcher: watcher }
    }

    /// Something has happened in one of the folders since this was last asked, or happens now.
    pub(crate) async fn heard(&self) {
        self.heard.notified().await;
    }
}

fn unwatched(folder: &str, error: &notify::Error) {
    tracing::warn!(
        folder,
        %error,
        "a folder cannot be watched: changes in it are found by looking, every reload.poll"
    );
}
