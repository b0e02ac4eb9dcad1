//! From settings to clients with keys: checks all of them and reports everything that is wrong.

use std::collections::HashMap;
use std::fs::File;
use std::hash::Hash;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::files::{Prints, named};
use crate::gateway::auth::client::{Client, Complaint, KeyOrigin};
use crate::gateway::auth::freshness::Freshness;
use crate::gateway::auth::kept::Shelf;
use crate::gateway::auth::key_set::{KeySet, KeySetError};
use crate::gateway::auth::keys::{ClientKeys, KeyRules};
use crate::gateway::auth::metrics::Metrics;
use crate::gateway::auth::problems::SettingsProblem;
use crate::gateway::auth::refresher::Refresher;
use crate::gateway::auth::settings::{ClientSettings, KeySettings};
use crate::gateway::auth::source::{LoadError, Source};
use crate::names::ClientId;
use crate::outbound::fetch::reach::Reach;
use crate::outbound::fetch::{Fetcher, Limits};
use crate::outbound::roots;
use crate::problem::Code;

/// How far the clock may have been set back since a set was kept.
const CLOCK_SET_BACK: Duration = Duration::from_secs(5 * 60);

/// A client and its keys.
#[derive(Debug)]
pub(super) struct Registered {
    /// Who.
    pub(super) client: Client,
    /// With which keys.
    pub(super) supply: Arc<Supply>,
}

/// A client's keys and what keeps them fresh: one for all configurations that say the same about where they
/// come from. The refreshing ends with the last of them.
#[derive(Debug)]
pub(super) struct Supply {
    /// The keys.
    pub(super) keys: Arc<ClientKeys>,
    /// Whether calls are to wait elsewhere until there are keys. Those of a client that a reload brings are
    /// not waited for: it would take the others' calls away from every replica at once.
    pub(super) is_awaited: bool,
    origin: Origin,
    /// Not for inline keys.
    refresher: Option<Refresher>,
    is_started: AtomicBool,
    end: CancellationToken,
}

impl Drop for Supply {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

impl Supply {
    /// Starts what keeps the keys fresh, unless that runs. It ends with `stop` at the latest.
    pub(super) fn start(&self, tasks: &TaskTracker, stop: CancellationToken) {
        let Some(refresher) = self.refresher.clone() else { return };
        if self.is_started.swap(true, Ordering::Relaxed) {
            return;
        }
        let unneeded = self.end.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = refresher.run(stop) => {}
                () = unneeded.cancelled() => {}
            }
        });
    }

    /// Where the keys come from, by the key of the configuration that says so.
    pub(super) fn source(&self) -> String {
        self.refresher.as_ref().map_or_else(|| "jwks".to_owned(), |r| r.source.to_string())
    }

    /// Reads the keys once, for somebody who runs no task: a file in any case, a server only where it is to
    /// be `asked`.
    ///
    /// # Errors
    /// [`LoadError`]
    pub(super) async fn read_keys(&self, asked: bool) -> Result<(), LoadError> {
        let Some(refresher) = &self.refresher else { return Ok(()) };
        match &refresher.source {
            Source::Server { .. } if !asked => {
                refresher.leave_unread();
                Ok(())
            }
            Source::Server { .. } | Source::File { .. } => refresher.read_once().await,
        }
    }
}

/// Where a client's keys come from, and what else decides which they are. Two clients with equal ones have
/// the same keys.
#[derive(Clone, Debug, PartialEq)]
struct Origin {
    client: ClientId,
    url: Option<String>,
    inline: Option<serde_json::Value>,
    allow_public_test_keys: bool,
    allow_private_key_server: bool,
    rules: KeySettings,
    /// What was in `jwks_file` and `key_server_ca_file`.
    files: Prints,
}

impl Origin {
    fn of(settings: &ClientSettings, rules: &KeySettings) -> Self {
        Self {
            client: settings.id.clone(),
            url: settings.jwks_url.clone(),
            inline: settings.jwks.clone(),
            allow_public_test_keys: settings.allow_public_test_keys,
            allow_private_key_server: settings.allow_private_key_server,
            rules: rules.clone(),
            files: Prints::of(named(settings)),
        }
    }

    /// Whether the same key server is asked, and the same keys are taken from it.
    fn has_server_of(&self, other: &Self) -> bool {
        self.url.is_some()
            && self.url == other.url
            && self.allow_public_test_keys == other.allow_public_test_keys
    }
}

/// What all clients share.
#[derive(Debug)]
pub(super) struct Setup<'a> {
    /// How keys are fetched and kept.
    pub(super) keys: &'a KeySettings,
    /// Where sets are kept over a restart.
    pub(super) state_dir: Option<&'a Path>,
    /// The time.
    pub(super) clock: Arc<dyn Clock>,
    /// For jitter.
    pub(super) entropy: Arc<dyn Entropy>,
    /// The families that the clients' metrics belong to.
    pub(super) metrics: Metrics,
    /// What the configuration before had, where there is one.
    pub(super) before: Option<&'a [Arc<Supply>]>,
}

/// Checks what concerns all clients: names and issuers are not shared.
pub(super) fn check_shared(clients: &[ClientSettings]) -> Vec<SettingsProblem> {
    let (mut ids, mut issuers) = (HashMap::new(), HashMap::new());
    let mut problems = Vec::new();
    for (index, client) in clients.iter().enumerate() {
        let mut complain = |key, other: usize, sentence: &str| {
            problems.push(SettingsProblem {
                client: Some((index, client.id.clone())),
                code: Code::Duplicate,
                key,
                sentence: sentence.to_owned(),
                other: Some(other),
            });
        };
        if let Some(other) = earlier(&mut ids, client.id.as_str().to_ascii_lowercase(), index) {
            complain("id", other, "another client has this id; give each its own");
        }
        if let Some(other) = earlier(&mut issuers, &client.issuer, index) {
            complain(
                "issuer",
                other,
                "another client has this issuer, and iss picks the client; merge the two",
            );
        }
    }
    problems
}

/// Who had this first; `index` where nobody did before.
fn earlier<K: Eq + Hash>(seen: &mut HashMap<K, usize>, key: K, index: usize) -> Option<usize> {
    let first = *seen.entry(key).or_insert(index);
    (first != index).then_some(first)
}

/// Checks `[jwks]`.
pub(super) fn check_keys(keys: &KeySettings) -> Vec<SettingsProblem> {
    let minute = Duration::from_secs(60);
    let rules = [
        (
            "refresh_floor",
            keys.refresh_floor.get() < Duration::from_secs(1),
            "less than a second; write \"1m\"",
        ),
        (
            "refresh_ceiling",
            keys.refresh_ceiling.get() < keys.refresh_floor.get(),
            "less than refresh_floor; write \"24h\"",
        ),
        (
            "max_stale",
            keys.max_stale.get() < keys.refresh_ceiling.get()
                || keys.max_stale.get() < keys.file_poll.get() * 2,
            "less than refresh_ceiling or than twice file_poll, so that good keys would be dropped; \
             write \"24h\"",
        ),
        (
            "fetch_timeout",
            keys.fetch_timeout.get() < Duration::from_millis(100)
                || keys.fetch_timeout.get() > minute,
            "outside of 100 ms to 1 minute; write \"5s\"",
        ),
        ("max_size", keys.max_size.bytes() < 1024, "less than 1 KiB; write \"256KiB\""),
        (
            "unknown_kid_cooldown",
            keys.unknown_kid_cooldown.get() < Duration::from_secs(1),
            "less than a second, so that nonsense could flood the key server; write \"30s\"",
        ),
        (
            "unknown_kid_wait",
            keys.unknown_kid_wait.get() > Duration::from_secs(10),
            "more than 10 seconds; write \"250ms\"",
        ),
        (
            "backoff_min",
            keys.backoff_min.get() < Duration::from_millis(100),
            "less than 100 ms; write \"1s\"",
        ),
        (
            "backoff_max",
            keys.backoff_max.get() < keys.backoff_min.get(),
            "less than backoff_min; write \"5m\"",
        ),
        (
            "file_poll",
            keys.file_poll.get() < Duration::from_secs(1),
            "less than a second; write \"30s\"",
        ),
    ];
    let wrong = rules.into_iter().filter(|(_, is_wrong, _)| *is_wrong);
    wrong
        .map(|(key, _, sentence)| SettingsProblem {
            client: None,
            code: Code::OutOfRange,
            key,
            sentence: sentence.to_owned(),
            other: None,
        })
        .collect()
}

impl Setup<'_> {
    /// Makes a client of `settings`, or says everything that is wrong with it.
    ///
    /// # Errors
    /// The complaints, at least one.
    pub(super) fn register(&self, settings: &ClientSettings) -> Result<Registered, Vec<Complaint>> {
        let mut complaints = Vec::new();
        let client = Client::read(settings, &mut complaints);
        let source = KeyOrigin::read(settings, &mut complaints);
        let supply = source.map(|source| self.supply(source, settings)).transpose();
        match supply {
            Ok(Some(supply)) if complaints.is_empty() => Ok(Registered { client, supply }),
            Ok(_) => Err(complaints),
            Err(complaint) => {
                complaints.push(complaint);
                Err(complaints)
            }
        }
    }

    /// The supply from before where it is the same, or another one. Where only the way to the same key server
    /// is another, that one begins with the keys that are held.
    fn supply(
        &self,
        source: KeyOrigin<'_>,
        settings: &ClientSettings,
    ) -> Result<Arc<Supply>, Complaint> {
        let origin = Origin::of(settings, self.keys);
        let before = self.before.unwrap_or_default();
        if let Some(same) = before.iter().find(|supply| supply.origin == origin) {
            return Ok(Arc::clone(same));
        }
        let keys = Arc::new(ClientKeys::new(
            settings.id.clone(),
            self.rules(settings),
            settings.jwks.is_none(),
            Arc::clone(&self.clock),
            self.metrics.of(&settings.id),
        ));
        let refresher = self.furnish(&keys, source, settings)?;
        if let Some(twin) = before.iter().find(|supply| supply.origin.has_server_of(&origin)) {
            keys.begin_with(&twin.keys);
        }
        Ok(Arc::new(Supply {
            keys,
            is_awaited: self.before.is_none(),
            origin,
            refresher,
            is_started: AtomicBool::new(false),
            end: CancellationToken::new(),
        }))
    }

    fn rules(&self, settings: &ClientSettings) -> KeyRules {
        KeyRules {
            max_stale: self.keys.max_stale.get(),
            cooldown: self.keys.unknown_kid_cooldown.get(),
            wait: self.keys.unknown_kid_wait.get(),
            remember_unknown: self.keys.refresh_floor.get(),
            unknown_kept: self.keys.unknown_kids_kept,
            allow_public_test_keys: settings.allow_public_test_keys,
        }
    }

    /// Gives `keys` what can be had without the network, and the task that will do the rest.
    fn furnish(
        &self,
        keys: &Arc<ClientKeys>,
        origin: KeyOrigin<'_>,
        settings: &ClientSettings,
    ) -> Result<Option<Refresher>, Complaint> {
        let (source, shelf) = match origin {
            KeyOrigin::Inline(set) => {
                let json = serde_json::to_vec(set).unwrap_or_default();
                self.hold(keys, &json).map_err(|e| unusable("jwks", &e))?;
                return Ok(None);
            }
            KeyOrigin::File(path) => (self.file(keys, path)?, None),
            KeyOrigin::Server(url) => {
                let shelf = self.state_dir.map(|dir| Shelf::new(dir, &settings.id, url.as_str()));
                if let Some(shelf) = &shelf {
                    self.take_kept(keys, shelf);
                }
                (self.server(url, settings)?, shelf)
            }
        };
        Ok(Some(Refresher {
            keys: Arc::clone(keys),
            source,
            shelf,
            backoff_min: self.keys.backoff_min.get(),
            backoff_max: self.keys.backoff_max.get(),
            audit: self.metrics.audit().clone(),
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
        }))
    }

    fn hold(&self, keys: &ClientKeys, json: &[u8]) -> Result<(), KeySetError> {
        let set = KeySet::parse(json, keys.rules().allow_public_test_keys)?;
        keys.hold(set, self.clock.now());
        Ok(())
    }

    fn file(&self, keys: &ClientKeys, path: &Path) -> Result<Source, Complaint> {
        let max_bytes = self.keys.max_size.bytes();
        let limit = u64::try_from(max_bytes).unwrap_or(u64::MAX).saturating_add(1);
        let mut json = Vec::new();
        File::open(path).and_then(|file| file.take(limit).read_to_end(&mut json)).map_err(|e| {
            let why = format!("{}: {e}; name a readable file", path.display());
            (Code::FileUnreadable, "jwks_file", why)
        })?;
        if json.len() > max_bytes {
            return Err((
                Code::OutOfRange,
                "jwks_file",
                format!("larger than {}; raise jwks.max_size", self.keys.max_size),
            ));
        }
        self.hold(keys, &json).map_err(|e| unusable("jwks_file", &e))?;
        Ok(Source::File { path: path.to_owned(), max_bytes, poll: self.keys.file_poll.get() })
    }

    fn server(&self, url: url::Url, settings: &ClientSettings) -> Result<Source, Complaint> {
        let ca_file = settings.key_server_ca_file.as_deref();
        let roots = if url.scheme() == "http" {
            rustls::RootCertStore::empty()
        } else {
            roots::load(ca_file)
                .map_err(|e| (Code::FileContent, "key_server_ca_file", e.to_string()))?
        };
        let reach = if settings.allow_private_key_server { Reach::Private } else { Reach::Public };
        let limits = Limits {
            total_time: self.keys.fetch_timeout.get(),
            max_bytes: self.keys.max_size.bytes(),
        };
        let fetcher = Fetcher::new(roots, reach, limits)
            .map_err(|e| (Code::Outside, "jwks_url", format!("TLS cannot be set up: {e}")))?;
        let freshness = Freshness {
            floor: self.keys.refresh_floor.get(),
            ceiling: self.keys.refresh_ceiling.get(),
            unstated: self.keys.default_ttl.get(),
        };
        Ok(Source::Server { url, fetcher: Box::new(fetcher), freshness })
    }

    /// A kept set is a help and no condition: what is wrong with it is logged and forgotten.
    fn take_kept(&self, keys: &ClientKeys, shelf: &Shelf) {
        let client = keys.client();
        let max_bytes = u64::try_from(self.keys.max_size.bytes()).unwrap_or(u64::MAX);
        let kept = match shelf.load(max_bytes.saturating_mul(2)) {
            Ok(Some(kept)) => kept,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%client, "kept keys cannot be read: {error}");
                return;
            }
        };
        let now = self.clock.now();
        let from_the_future = kept.fetched_at.since(now) > CLOCK_SET_BACK;
        if from_the_future || now.since(kept.fetched_at) >= keys.rules().max_stale {
            return;
        }
        match KeySet::parse(&kept.json, keys.rules().allow_public_test_keys) {
            Ok(set) => {
                keys.hold(set, kept.fetched_at);
            }
            Err(error) => tracing::warn!(%client, "kept keys cannot be used: {error}"),
        }
    }
}

fn unusable(key: &'static str, error: &KeySetError) -> Complaint {
    match error {
        KeySetError::NotASet => {
            (Code::FileContent, key, format!("{error}; write {{ keys = [ … ] }}"))
        }
        KeySetError::NoUsableKey(_) => {
            let what = "each needs a kid and must be a public key for signatures";
            (Code::FileContent, key, format!("{error}; {what}"))
        }
    }
}
