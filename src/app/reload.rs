//! Takes up a changed configuration while everything goes on.
//!
//! All of it is read anew and made anew, beside what is at work; only when nothing is wrong does it take its
//! place, as a whole. What is wrong is told, and changes nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io, thread};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::check;
use crate::app::generation::Generation;
use crate::app::lasting::Lasting;
use crate::app::live::{Cause, Live};
use crate::app::restart::{changed, needs_restart};
use crate::app::state::{going_on_alone, longest_life};
use crate::app::supervisor;
use crate::app::watching::Watching;
use crate::audit::{Event, What};
use crate::clock::UnixTime;
use crate::config::Config;
use crate::config::log::Log;
use crate::config::report::Report;
use crate::doors::{Manners, Next as NextManner};
use crate::entropy::NoEntropy;
use crate::files::{Prints, named};
use crate::problem::{Problem, Severity};
use crate::readiness::{Pending, Readiness};

/// Several files are often written one after the other: how long to leave them alone after the first change.
const SETTLE: Duration = Duration::from_millis(500);

/// Where the configuration comes from each time, and who else is to learn what it says.
pub struct Source {
    /// The configuration file.
    pub file: PathBuf,
    /// What it and the files that it names held before the configuration at work was made of them.
    pub seen: Prints,
    /// Each asks for a reload, whether anything has changed or not.
    pub asked: mpsc::Receiver<()>,
    /// Has the log say what `[log]` says now.
    pub log: Box<dyn Fn(&Log) + Send + Sync>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("file", &self.file).finish_non_exhaustive()
    }
}

/// `hookgate_reloads_total{result}`, `hookgate_config_last_reload_success` and
/// `hookgate_config_last_reload_success_timestamp_seconds`.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    results: Family<Outcome, Counter>,
    success: Gauge,
    taken_up_at: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    result: &'static str,
}

const TAKEN_UP: Outcome = Outcome { result: "taken_up" };
const REFUSED: Outcome = Outcome { result: "refused" };

impl Metrics {
    /// Makes them known to `registry`. The start counts as a success and as no reload.
    pub(crate) fn register(registry: &mut Registry, now: UnixTime) -> Self {
        let metrics = Self {
            results: Family::default(),
            success: Gauge::default(),
            taken_up_at: Gauge::default(),
        };
        registry.register(
            "hookgate_reloads",
            "Attempts to take up a changed configuration, by result",
            metrics.results.clone(),
        );
        registry.register(
            "hookgate_config_last_reload_success",
            "0 while the latest change of the configuration is refused",
            metrics.success.clone(),
        );
        registry.register(
            "hookgate_config_last_reload_success_timestamp_seconds",
            "When the configuration at work was taken up, in Unix time",
            metrics.taken_up_at.clone(),
        );
        for outcome in [TAKEN_UP, REFUSED] {
            let _at_zero = metrics.results.get_or_create(&outcome);
        }
        metrics.at_work_since(now);
        metrics
    }

    fn at_work_since(&self, now: UnixTime) {
        self.success.set(1);
        self.taken_up_at.set(i64::try_from(now.secs()).unwrap_or(i64::MAX));
    }

    fn taken_up(&self, now: UnixTime) {
        self.results.get_or_create(&TAKEN_UP).inc();
        self.at_work_since(now);
    }

    fn refused(&self) {
        self.results.get_or_create(&REFUSED).inc();
        self.success.set(0);
    }
}

/// What a reload reaches.
#[derive(Debug)]
pub(crate) struct Reached {
    pub(crate) live: Live,
    pub(crate) lasting: Arc<Lasting>,
    pub(crate) manners: Manners,
    pub(crate) readiness: Readiness,
    pub(crate) metrics: Metrics,
    /// What runs beside the calls.
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

/// Takes up changes, one after the other.
#[derive(Debug)]
pub(crate) struct Reloads {
    source: Source,
    reached: Reached,
    /// What the files held when they were last taken up or refused.
    seen: Prints,
    refused: Option<Refused>,
}

/// The latest attempt failed.
#[derive(Debug)]
struct Refused {
    problems: Vec<String>,
    _told: Pending,
}

impl Reloads {
    /// Follows `source` from what was seen of it.
    pub(crate) fn new(source: Source, reached: Reached) -> Self {
        let seen = source.seen.clone();
        Self { source, reached, seen, refused: None }
    }

    /// Runs until everything stops.
    pub(crate) async fn run(mut self) {
        let stop = self.reached.stop.clone();
        tokio::select! {
            () = self.follow() => {}
            () = stop.cancelled() => {}
        }
    }

    async fn follow(&mut self) {
        loop {
            let watching = self.watch().await;
            // What has changed before it was watched.
            let cause = match self.look().await {
                // It may be half written; and what cannot even be read must not be tried without a pause.
                Some(cause) => {
                    self.reached.lasting.ambient.clock.sleep(SETTLE).await;
                    cause
                }
                None => self.next_cause(&watching).await,
            };
            self.attempt(cause).await;
        }
    }

    async fn watch(&self) -> Watching {
        if !self.watches() {
            return Watching::nothing();
        }
        let seen = self.seen.clone();
        // Without a thread, changes are found by looking.
        let watching = apart(move || Watching::on(&seen.folders())).await;
        watching.unwrap_or_else(|_| Watching::nothing())
    }

    fn watches(&self) -> bool {
        self.reached.live.generation().config().reload.watch
    }

    async fn look(&self) -> Option<Cause> {
        if !self.watches() {
            return None;
        }
        let seen = self.seen.clone();
        let same = apart(move || seen == seen.again()).await.unwrap_or(true);
        (!same).then_some(Cause::Changed)
    }

    async fn next_cause(&mut self, watching: &Watching) -> Cause {
        let clock = Arc::clone(&self.reached.lasting.ambient.clock);
        loop {
            let poll = self.reached.live.generation().config().reload.poll.get();
            tokio::select! {
                // Where nobody can ask any more, files still change.
                Some(()) = self.source.asked.recv() => return Cause::Asked,
                () = watching.heard() => clock.sleep(SETTLE).await,
                () = clock.sleep(poll) => {
                    // It may be good by now for a reason that no file shows.
                    if self.refused.is_some() && self.watches() {
                        return self.look().await.unwrap_or(Cause::Again);
                    }
                }
            }
            if let Some(cause) = self.look().await {
                return cause;
            }
        }
    }

    async fn attempt(&mut self, cause: Cause) {
        supervisor::reloading();
        let making = Making {
            file: self.source.file.clone(),
            before: self.reached.live.generation(),
            lasting: Arc::clone(&self.reached.lasting),
            manners: self.reached.manners.clone(),
        };
        let made = match apart(move || making.make()).await {
            Ok((seen, made)) => {
                self.seen = seen;
                made
            }
            Err(error) => Err(vec![error.to_string()]),
        };
        let made = made.and_then(|next| {
            let told = self.prepare(&next).map_err(|error| vec![error.to_string()]);
            told.map(|()| next)
        });
        match made {
            Ok(next) => self.take_up(next, cause),
            Err(problems) => self.refuse(problems, cause),
        }
        supervisor::ready();
    }

    /// The last that can fail; where it does, nothing has changed.
    fn prepare(&self, next: &Next) -> Result<(), NoEntropy> {
        let lasting = &self.reached.lasting;
        let alone = going_on_alone(next.generation.config());
        lasting.local.serve(alone, lasting.ambient.entropy.as_ref())
    }

    fn take_up(&mut self, next: Next, cause: Cause) {
        let Reached { live, lasting, manners, metrics, tasks, stop, .. } = &self.reached;
        let (before, config) = (live.generation(), Arc::clone(next.generation.config()));
        lasting.longest_life.send_replace(longest_life(&config));
        (self.source.log)(&config.log);
        next.generation.start(tasks, stop);
        manners.put(next.manner);
        let now = lasting.ambient.clock.now();
        live.replace(next.generation, now, cause);
        metrics.taken_up(now);
        self.refused = None;
        let changed = changed(before.config(), &config);
        tracing::info!(cause = cause.word(), ?changed, "the configuration is taken up");
        // Names of keys, and none of their values.
        let names = changed.into_iter().collect::<Vec<_>>().join(", ");
        let event = Event::new(What::ConfigTaken);
        lasting.audit.note(event.detail(format!("{}: {names}", cause.word())));
    }

    /// What is refused for the same reasons as before is not told again, unless somebody asks.
    fn refuse(&mut self, problems: Vec<String>, cause: Cause) {
        let known = self.refused.as_ref().is_some_and(|before| before.problems == problems);
        if known && cause == Cause::Again {
            return;
        }
        let Reached { live, lasting, readiness, metrics, .. } = &self.reached;
        for problem in &problems {
            tracing::error!(
                cause = cause.word(),
                problem,
                "the configuration is refused: the one from before stays at work"
            );
        }
        let event = Event::new(What::ConfigRefused);
        lasting.audit.note(event.detail(format!("{}: {}", cause.word(), problems.join("\n"))));
        metrics.refused();
        live.refuse(problems.clone(), lasting.ambient.clock.now(), cause);
        let told = format!("reload: refused, {} to mend; the log says what", problems.len());
        self.refused = Some(Refused { problems, _told: readiness.degrade(told) });
    }
}

/// What is ready to take its place.
struct Next {
    generation: Generation,
    manner: NextManner,
}

/// What the next generation is made of.
struct Making {
    file: PathBuf,
    before: Arc<Generation>,
    lasting: Arc<Lasting>,
    manners: Manners,
}

impl Making {
    /// Reads everything. Each file is looked at before it is used: whatever is written meanwhile is then found
    /// to be new.
    fn make(self) -> (Prints, Result<Next, Vec<String>>) {
        let own = Prints::of([self.file.clone()]);
        let before = || Prints::of(named(self.before.config().as_ref()));
        let mut examined = match Config::examine(&self.file) {
            Ok(examined) => examined,
            Err(report) => return (own.or(before()), Err(errors(&report))),
        };
        let files = examined.config().map_or_else(before, |config| Prints::of(named(config)));
        let seen = own.or(files);
        let ambient = &self.lasting.ambient;
        let found = examined.config().map(|config| check::problems(config, ambient));
        examined.note(found.unwrap_or_default());
        let (config, report) = examined.conclude();
        match config {
            Some(config) => (seen, self.next(config)),
            None => (seen, Err(errors(&report))),
        }
    }

    fn next(self, config: Config) -> Result<Next, Vec<String>> {
        let problems = needs_restart(self.before.config(), &config);
        if !problems.is_empty() {
            return Err(problems);
        }
        let manner = self.manners.read(&config.listener);
        let manner = manner.map_err(|error| vec![Problem::from(error).to_string()])?;
        let generation = self.before.succeeded_by(config, &self.lasting);
        let generation = generation
            .map_err(|error| error.problems().iter().map(Problem::to_string).collect::<Vec<_>>())?;
        Ok(Next { generation, manner })
    }
}

/// What keeps a configuration from being used, a line each.
fn errors(report: &Report) -> Vec<String> {
    let problems = report.problems().iter();
    problems
        .filter(|each| each.problem.severity == Severity::Error)
        .map(ToString::to_string)
        .collect()
}

/// Why something was not done on a thread of its own.
#[derive(Debug, thiserror::Error)]
enum NotDone {
    #[error("there is no thread to read the configuration with: {0}")]
    NoThread(io::Error),
    #[error("the reading of the configuration ended in a panic")]
    Panicked,
}

/// Does this on a thread that nobody waits for at the end: a file system whose server is gone can hold a
/// reader for good, and no call must wait behind it.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, NotDone> {
    let (tell, told) = oneshot::channel();
    let runtime = Handle::current();
    let work = move || {
        let _within = runtime.enter();
        // Whoever asked may have gone.
        let _ = tell.send(work());
    };
    thread::Builder::new()
        .name("configuration".to_owned())
        .spawn(work)
        .map_err(NotDone::NoThread)?;
    told.await.map_err(|_| NotDone::Panicked)
}
