//! What the status page shows and does: collected from everything that is at work.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::admin::status::{
    Bypass, Configuration, Keys, Limits, NextStep, Reload, Status, Store as StoreStatus,
};
use crate::admin::{Action, Operated, Outcome, status};
use crate::app::ambient::Ambient;
use crate::app::lasting::Lasting;
use crate::app::live::{Live, ReloadStatus};
use crate::app::shown::{
    certificates, clients, key, links, mode, near, refusals, services, upstreams,
};
use crate::app::state::longest_life;
use crate::audit::{Audit, Event, What};
use crate::bypass::Standings;
use crate::clock::UnixTime;
use crate::config::Config;
use crate::gateway::auth::Refreshed;
use crate::keyring::{
    DEFAULT_LONGEST_LIFE, KeyFileWriter, KeyRow, KeyState, Life, LiveKeyring, PROPAGATION,
    RotationError, SigningAlgorithm, Step, Wanted,
};
use crate::names::ClientId;
use crate::readiness::Readiness;
use crate::record::history::History;
use crate::store;
use crate::store::{Fullness, Store};

/// How many of those near a limit are shown.
const NEAREST: usize = 12;

/// How long a button waits for a key server.
const PATIENCE: Duration = Duration::from_secs(8);

/// Everything that can be looked at.
#[derive(Debug)]
pub(crate) struct Console {
    live: Live,
    ambient: Ambient,
    audit: Audit,
    history: History,
    store: Arc<dyn Store>,
    fullness: Fullness,
    keyring: Arc<LiveKeyring>,
    readiness: Readiness,
    bypass: Standings,
    started: UnixTime,
}

impl Console {
    /// That of this process, which begins now.
    pub(crate) fn new(
        live: Live,
        lasting: &Lasting,
        fullness: Fullness,
        readiness: Readiness,
        bypass: Standings,
    ) -> Self {
        Self {
            live,
            ambient: lasting.ambient.clone(),
            audit: lasting.audit.clone(),
            history: lasting.metrics.recorder.history(),
            store: Arc::clone(&lasting.store),
            fullness,
            keyring: Arc::clone(&lasting.keyring),
            readiness,
            bypass,
            started: lasting.ambient.clock.now(),
        }
    }
}

#[async_trait]
impl Operated for Console {
    fn status(&self) -> Status {
        let now = self.ambient.clock.now();
        let generation = self.live.generation();
        let config = generation.config();
        let minutes = self.history.minutes();
        let pending = self.readiness.pending();
        Status {
            version: env!("CARGO_PKG_VERSION"),
            public_url: config.public_url.as_url().to_string(),
            now,
            started: self.started,
            readiness: status::Readiness {
                ready: pending.is_empty(),
                pending,
                degraded: self.readiness.degraded(),
            },
            configuration: self.configuration(config),
            clients: clients(&generation),
            services: services(config, &minutes),
            upstreams: upstreams(&generation),
            bypass: self.bypass(),
            refusals: refusals(&minutes, now),
            limits: Limits {
                mode: mode(config.limits.mode),
                nearest: generation.limits().nearest(NEAREST).into_iter().map(near).collect(),
            },
            links: links(&minutes),
            store: self.store(config),
            keys: self.keys(config),
            certificates: certificates(config, now),
        }
    }

    async fn act(&self, action: &Action) -> Outcome {
        // No decision without its event, where that is wanted.
        let outcome = match self.audit.ready() {
            Ok(()) => self.perform(action).await,
            Err(error) => Outcome::refused(format!("Nothing was done: {error}. The log says why.")),
        };
        self.audit(action, &outcome);
        let (code, client) = (action.code(), action.client().map(ClientId::as_str));
        if outcome.good {
            tracing::info!(action = code, client, "done from the status page");
        } else {
            tracing::warn!(
                action = code,
                client,
                "not done from the status page: {}",
                outcome.said
            );
        }
        outcome
    }
}

impl Console {
    async fn perform(&self, action: &Action) -> Outcome {
        match action {
            Action::FetchKeys(client) => self.fetch_keys(client).await,
            Action::AddNextKeys => self.change_keys("added as next", add_next).await,
            Action::RotateKeys => {
                self.change_keys("changed", |writer, _| writer.rotate(PROPAGATION)).await
            }
            Action::RetireKeys => self.change_keys("dropped", |writer, _| writer.retire()).await,
        }
    }

    fn audit(&self, action: &Action, outcome: &Outcome) {
        let what = What::AdminAction { action: action.code(), done: outcome.good };
        let event = Event::new(what).detail(outcome.said.clone());
        self.audit.note(match action.client() {
            Some(client) => event.client(client),
            None => event,
        });
    }

    fn store(&self, config: &Config) -> StoreStatus {
        let fill = self.store.fill();
        StoreStatus {
            backend: match config.state.backend {
                store::Backend::Memory => "memory",
                store::Backend::Disk => "disk",
                store::Backend::Redis => "redis",
            },
            entries: fill.entries,
            capacity: fill.capacity,
            memory_used: fill.memory.map(|memory| memory.used),
            memory_limit: fill.memory.map(|memory| memory.limit),
            nearly_full: self.fullness.is_nearly_full(),
            history_since: self.store.incarnation().ok().map(|incarnation| incarnation.since),
        }
    }

    fn configuration(&self, config: &Config) -> Configuration {
        let reloads = self.live.reloads();
        let ReloadStatus { since, replaced, latest } = reloads.borrow().clone();
        let latest = latest.map(|attempt| Reload {
            at: attempt.at,
            cause: attempt.cause.word(),
            problems: attempt.problems,
        });
        Configuration { since, replaced, latest, effective: config.effective() }
    }

    fn bypass(&self) -> Vec<Bypass> {
        let found = self.bypass.all();
        let shown = found.iter().map(|(upstream, standing)| Bypass {
            upstream: upstream.as_str().to_owned(),
            answers: standing.answers.clone(),
            checked_at: standing.checked_at,
        });
        shown.collect()
    }

    fn keys(&self, config: &Config) -> Keys {
        let ring = self.keyring.ring();
        let file = config.key_file();
        let rows = ring.rows();
        let is_next = |row: &&KeyRow| row.course.state == KeyState::Next;
        let youngest = rows.iter().filter(is_next).map(|row| row.course.created).max();
        let next_step = match (&file, youngest) {
            (None, _) => NextStep::None,
            (Some(_), None) => NextStep::Add,
            (Some(_), Some(created)) => NextStep::Rotate { from: created.plus(PROPAGATION) },
        };
        Keys {
            file: file.map(|file| file.display().to_string()),
            loaded: self.keyring.since(),
            fingerprint: ring.fingerprint().to_string(),
            held: rows.iter().map(key).collect(),
            next_step,
        }
    }

    async fn fetch_keys(&self, client: &ClientId) -> Outcome {
        let auth = Arc::clone(self.live.generation().auth());
        match auth.refresh(client, PATIENCE).await {
            Refreshed::Read(kids) => Outcome::done(format!("Held now: {}.", kids.join(", "))),
            Refreshed::Failed(code) => Outcome::refused(format!(
                "Failed: {code}. The log has more. Keys from before stay in use for as long as jwks.max_stale says."
            )),
            Refreshed::Pending => Outcome::refused(
                "Still under way: the key server is slow. Look again in a few seconds.".to_owned(),
            ),
            Refreshed::Inline => Outcome::refused(
                "Its keys stand in the configuration, and change with it.".to_owned(),
            ),
            Refreshed::Unknown => Outcome::refused("There is no such client any more.".to_owned()),
        }
    }

    /// Changes the key file as `hookgate keys` does. Gateways, this one too, take it up within seconds.
    async fn change_keys(
        &self,
        what: &'static str,
        change: fn(&KeyFileWriter, &Change) -> Result<Step, RotationError>,
    ) -> Outcome {
        let generation = self.live.generation();
        let config = generation.config();
        let Some(file) = config.key_file() else {
            return Outcome::refused(
                "The keys are in memory only, and end with the process: name keyring.file to rotate them."
                    .to_owned(),
            );
        };
        let about = Change {
            life: longest_life(config),
            algorithm: self.keyring.ring().signing_key().kind(),
        };
        let writer = self.writer(file);
        let changed = tokio::task::spawn_blocking(move || change(&writer, &about)).await;
        match changed {
            Ok(Ok(step)) => Outcome::done(format!(
                "{}The key file is written; every gateway that has it takes it up within seconds.",
                step.told(what)
            )),
            Ok(Err(error)) => Outcome::refused(error.to_string()),
            Err(_) => {
                Outcome::refused("It broke off: see the log, and please report it.".to_owned())
            }
        }
    }

    fn writer(&self, file: PathBuf) -> KeyFileWriter {
        KeyFileWriter {
            file,
            output: None,
            clock: Arc::clone(&self.ambient.clock),
            entropy: Arc::clone(&self.ambient.entropy),
        }
    }
}

/// What a change of the key file has to know.
struct Change {
    life: Duration,
    algorithm: SigningAlgorithm,
}

fn add_next(writer: &KeyFileWriter, about: &Change) -> Result<Step, RotationError> {
    let wanted = Wanted {
        sealing: Some(Life::AtLeast(DEFAULT_LONGEST_LIFE)),
        signing: Some(about.algorithm),
    };
    writer.add(&wanted, about.life)
}
