//! A changed key file is taken up while requests are served.
//!
//! The file is read again every few seconds and judged by its content. That sees every kind of change
//! alike: a rename over it, a link that is swapped (as the kubelet does), a file system that tells nobody.
//! A file that cannot be used is refused as a whole, and the ring from before stays.

use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::sync::watch::Receiver;
use tokio_util::sync::CancellationToken;

use crate::audit::{Audit, Event, What};
use crate::clock::Clock;
use crate::keyring::error::KeyringError;
use crate::keyring::file::{KeyFile, Text};
use crate::keyring::live::LiveKeyring;
use crate::keyring::metrics::Metrics;
use crate::keyring::place::open;
use crate::keyring::ring::Keyring;

/// How often the file is read. A rotation waits for minutes: this is soon enough, and costs nothing.
pub const EVERY: Duration = Duration::from_secs(5);

/// How long a file may take to be read before that is told.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why nobody knows what is in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Unseen {
    #[error("the key file has not been read for {} s: its file system does not answer", .0.as_secs())]
    Late(Duration),
    #[error("the key file cannot be looked at: the attempt ended in a panic")]
    Panicked,
    #[error("the key file cannot be looked at: there is no thread to do it ({0})")]
    NoThread(io::ErrorKind),
}

/// Keeps a ring as its file says.
#[derive(Debug)]
pub struct KeyFileWatch {
    path: PathBuf,
    longest_life: Receiver<Duration>,
    keyring: Arc<LiveKeyring>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    audit: Audit,
    seen: Option<Seen>,
    trouble: Option<String>,
}

/// What was found last, so that it is told once.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Content(Vec<u8>),
    Failure(String),
}

impl KeyFileWatch {
    /// Watches the file at `path`, from which `keyring` was read, for keys whose work may live for
    /// `longest_life`, as it is at each look.
    pub const fn new(
        path: PathBuf,
        longest_life: Receiver<Duration>,
        keyring: Arc<LiveKeyring>,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
        audit: Audit,
    ) -> Self {
        Self { path, longest_life, keyring, clock, metrics, audit, seen: None, trouble: None }
    }

    /// Looks every [`EVERY`] until `stop`, and says each time that it changes why the file cannot be taken up:
    /// what works now would not start again with it. `None` says that it is good.
    pub async fn run(self, tell: impl FnMut(Option<String>) + Send, stop: CancellationToken) {
        tokio::select! {
            () = self.follow(PATIENCE, tell) => {}
            () = stop.cancelled() => {}
        }
    }

    async fn follow(self, patience: Duration, mut tell: impl FnMut(Option<String>) + Send) {
        let (clock, refused) = (Arc::clone(&self.clock), self.metrics.refused.clone());
        let audit = self.audit.clone();
        let watch = Arc::new(Mutex::new(self));
        let mut told = None;
        let mut note = |found: Result<Option<String>, Unseen>| {
            let trouble = found.unwrap_or_else(|unseen| {
                refused.set(1);
                Some(unseen.to_string())
            });
            if trouble != told {
                if let Some(error) = &trouble {
                    tracing::error!(
                        error,
                        "the key file is not taken up: the keys from before stay in use"
                    );
                    audit.note(Event::new(What::KeyFileRefused).detail(error));
                }
                tell(trouble.clone());
                told = trouble;
            }
        };
        loop {
            let mut looking = pin!(look_apart(&watch));
            let found = tokio::select! {
                found = &mut looking => found,
                () = tokio::time::sleep(patience) => {
                    note(Err(Unseen::Late(patience)));
                    looking.await
                }
            };
            note(found);
            clock.sleep(EVERY).await;
        }
    }

    /// Reads the file once, and takes it up where it is another one than before and good.
    pub fn look(&mut self) {
        self.judge();
        self.metrics.refused.set(i64::from(self.trouble.is_some()));
    }

    fn judge(&mut self) {
        let text = self.read();
        let seen = match &text {
            Ok(text) => Seen::Content(text.digest().as_ref().to_vec()),
            Err(error) => Seen::Failure(error.to_string()),
        };
        if self.seen.as_ref() == Some(&seen) {
            return;
        }
        match text.and_then(|text| self.parse(&text)) {
            Ok(ring) => {
                self.take_up(ring);
                self.trouble = None;
            }
            Err(error) => {
                self.metrics.failures.inc();
                self.trouble = Some(error.to_string());
            }
        }
        // Last, so that a look that does not get here is taken again.
        self.seen = Some(seen);
    }

    fn read(&self) -> Result<Text, KeyringError> {
        Text::read(&self.path, &open(&self.path)?)
    }

    fn parse(&self, text: &Text) -> Result<Keyring, KeyringError> {
        Keyring::try_from(&KeyFile::parse(&self.path, text)?)?.lasting(*self.longest_life.borrow())
    }

    fn take_up(&self, ring: Keyring) {
        let (before, now) = (self.keyring.ring(), self.clock.now());
        if before.fingerprint() == ring.fingerprint() && before.rows() == ring.rows() {
            return;
        }
        for row in ring.missing(&before, now) {
            let (kind, state) = (row.r#use.word(), row.course.state.word());
            tracing::warn!(
                kind,
                kid = row.kid,
                state,
                "a key is gone that is needed: what it made is refused now"
            );
        }
        let (fingerprint, was) = (ring.fingerprint(), before.fingerprint());
        tracing::info!(%fingerprint, before = %was, "the key file is taken up");
        let told = format!("fingerprint {fingerprint}, before {was}");
        self.audit.note(Event::new(What::KeyFileTaken).detail(told));
        self.keyring.replace(ring, now);
    }
}

/// Looks on a thread that nobody waits for. The runtime waits for its own at its end, and a file system whose
/// server is gone can hold a reader for good. Gives the trouble that was found.
async fn look_apart(watch: &Arc<Mutex<KeyFileWatch>>) -> Result<Option<String>, Unseen> {
    let (tell, told) = oneshot::channel();
    let watch = Arc::clone(watch);
    let look = move || {
        let mut watch = watch.lock().unwrap_or_else(PoisonError::into_inner);
        watch.look();
        // Whoever asked may have gone.
        let _ = tell.send(watch.trouble.clone());
    };
    let thread = thread::Builder::new().name("key file".to_owned()).spawn(look);
    thread.map_err(|why| Unseen::NoThread(why.kind()))?;
    told.await.map_err(|_| Unseen::Panicked)
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;

    use crate::clock::{Sleep, SystemClock, UnixTime};
    use crate::entropy::SystemEntropy;
    use crate::keyring::change::KeyFileWriter;
    use crate::keyring::sign::SigningAlgorithm;

    const LIFE: Duration = Duration::from_secs(3600);
    const LONG: Duration = Duration::from_secs(60);

    /// Hurries, and where told to does not get through the taking up of a file.
    #[derive(Debug, Default)]
    struct Obstacle {
        clock: SystemClock,
        panics: AtomicBool,
        gate: Mutex<()>,
    }

    impl Clock for Obstacle {
        fn now(&self) -> UnixTime {
            assert!(!self.panics.load(Ordering::SeqCst), "as told");
            drop(self.gate.lock());
            self.clock.now()
        }

        fn monotonic(&self) -> Duration {
            self.clock.monotonic()
        }

        fn sleep(&self, _: Duration) -> Sleep<'_> {
            self.clock.sleep(Duration::from_millis(1))
        }
    }

    struct Bench {
        _dir: tempfile::TempDir,
        path: PathBuf,
        obstacle: Arc<Obstacle>,
        live: Arc<LiveKeyring>,
    }

    impl Bench {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("keys.json");
            begin(&path);
            let obstacle = Arc::new(Obstacle::default());
            let live = LiveKeyring::new(Keyring::load(&path).unwrap(), UnixTime::from_secs(1));
            Self { _dir: dir, path, obstacle, live: Arc::new(live) }
        }

        fn watch(&self) -> KeyFileWatch {
            let (live, clock) = (Arc::clone(&self.live), Arc::clone(&self.obstacle));
            let life = tokio::sync::watch::channel(LIFE).1;
            KeyFileWatch::new(
                self.path.clone(),
                life,
                live,
                clock,
                Metrics::default(),
                Audit::off(),
            )
        }

        /// Other keys, in the same place.
        fn exchange(&self) {
            let other = self.path.with_file_name("other");
            begin(&other);
            fs::rename(other, &self.path).unwrap();
        }

        fn is_taken_up(&self) -> bool {
            self.live.ring().fingerprint() == Keyring::load(&self.path).unwrap().fingerprint()
        }
    }

    fn begin(file: &std::path::Path) {
        let clock = Arc::new(SystemClock::new());
        let entropy = Arc::new(SystemEntropy::default());
        let writer = KeyFileWriter { file: file.to_owned(), output: None, clock, entropy };
        writer.begin(SigningAlgorithm::Es256, LIFE).unwrap();
    }

    /// Follows the file on a runtime of its own until `stop`, and says when that is gone for good.
    fn follow(
        watch: KeyFileWatch,
        patience: Duration,
        stop: &CancellationToken,
    ) -> (mpsc::Receiver<Option<String>>, mpsc::Receiver<()>) {
        let (tell, told) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        let stop = stop.clone();
        thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let tell = move |trouble| tell.send(trouble).unwrap();
            runtime.block_on(stop.run_until_cancelled(watch.follow(patience, tell)));
            drop(runtime);
            end.send(()).unwrap();
        });
        (told, ended)
    }

    #[test]
    fn trouble_is_told_as_it_comes_and_goes() {
        let (bench, stop) = (Bench::new(), CancellationToken::new());
        let (told, ended) = follow(bench.watch(), LONG, &stop);
        let good = fs::read(&bench.path).unwrap();
        fs::write(&bench.path, "{").unwrap();
        let trouble = told.recv_timeout(LONG).unwrap().unwrap();
        assert!(trouble.contains("is damaged"), "{trouble}");
        fs::remove_file(&bench.path).unwrap();
        let trouble = told.recv_timeout(LONG).unwrap().unwrap();
        assert!(trouble.contains("cannot be read"), "{trouble}");
        let other = bench.path.with_file_name("other");
        begin(&other);
        fs::write(&other, good).unwrap();
        fs::rename(other, &bench.path).unwrap();
        assert_eq!(told.recv_timeout(LONG).unwrap(), None);
        stop.cancel();
        ended.recv_timeout(LONG).unwrap();
    }

    #[test]
    fn a_look_that_panics_is_told_and_taken_again() {
        let (bench, stop) = (Bench::new(), CancellationToken::new());
        bench.obstacle.panics.store(true, Ordering::SeqCst);
        bench.exchange();
        let (told, _ended) = follow(bench.watch(), LONG, &stop);
        let trouble = told.recv_timeout(LONG).unwrap().unwrap();
        assert!(trouble.contains("panic"), "{trouble}");
        assert!(!bench.is_taken_up());
        bench.obstacle.panics.store(false, Ordering::SeqCst);
        assert_eq!(told.recv_timeout(LONG).unwrap(), None);
        assert!(bench.is_taken_up());
        stop.cancel();
    }

    #[test]
    fn a_look_that_does_not_end_is_told_and_not_waited_for() {
        for comes_back in [true, false] {
            let (bench, stop) = (Bench::new(), CancellationToken::new());
            let gate = bench.obstacle.gate.lock().unwrap();
            bench.exchange();
            let watch = bench.watch();
            let refused = watch.metrics.refused.clone();
            let (told, ended) = follow(watch, Duration::from_millis(1), &stop);
            let trouble = told.recv_timeout(LONG).unwrap().unwrap();
            assert!(trouble.contains("does not answer"), "{trouble}");
            assert_eq!(refused.get(), 1);
            if comes_back {
                drop(gate);
                assert_eq!(told.recv_timeout(LONG).unwrap(), None);
                assert!(bench.is_taken_up());
            }
            stop.cancel();
            ended.recv_timeout(LONG).unwrap();
        }
    }
}
