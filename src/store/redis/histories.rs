//! What this process believes of the histories in Redis, and how it asks in that belief.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::future::try_join_all;
use redis::{Script, Value};
use tokio::sync::Mutex;

use crate::clock::{Clock, UnixTime};
use crate::entropy::{Entropy, NoEntropy, draw};
use crate::redis::{Master, Redis};
use crate::store::contract::{Key, Memory, StoreError};
use crate::store::redis::history::{Known, Part, Tag};
use crate::store::redis::layout::{Layout, MARGIN, Process, TAGS, length, moment, number, tag_of};
use crate::store::redis::script::{Answer, Scripts, Told, strange};

/// How far a replica's clock and Redis' may be apart: half of what entries are kept longer for it.
pub(crate) const APART: Duration = Duration::from_secs(MARGIN.as_secs() / 2);
/// How long nothing is answered after the store was found to have forgotten: whoever asked for its
/// incarnation before has come with his step by then, and is refused.
const PAUSE: Duration = Duration::from_secs(5);
/// How long nothing is answered where another server is found, or one that was started anew: everybody
/// looks at it within that time, and who has heard of a step that it lacks begins a new history.
const OTHERS: Duration = Duration::from_secs(7);
/// How long a process that is not heard of is remembered.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);
/// How long a history that nobody asks for is remembered.
const LASTING: Duration = Duration::from_secs(30 * 24 * 3600);
/// How often a process says that it is there.
const HEARD: Duration = Duration::from_secs(3600);

/// The histories, as one process sees them.
#[derive(Debug)]
pub(crate) struct Histories {
    redis: Redis,
    layout: Layout,
    scripts: Scripts,
    process: Process,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    known: ArcSwapOption<Known>,
    memory: ArcSwapOption<Memory>,
    reading: Mutex<()>,
}

/// What was found when all of them were read.
pub(crate) struct Look {
    pub(crate) known: Arc<Known>,
    pub(crate) told: Vec<Told>,
    /// Whether every server takes writes.
    pub(crate) room: Result<(), StoreError>,
}

/// Asking.
impl Histories {
    /// Those behind `redis`, of which nothing is known yet.
    ///
    /// # Errors
    /// [`NoEntropy`] where the process cannot be given a name.
    pub(crate) fn new(
        redis: Redis,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, NoEntropy> {
        Ok(Self {
            layout: Layout::new(redis.prefix()),
            redis,
            scripts: Scripts::new(),
            process: draw(entropy.as_ref())?,
            clock,
            entropy,
            known: ArcSwapOption::empty(),
            memory: ArcSwapOption::empty(),
            reading: Mutex::new(()),
        })
    }

    /// The name of this process.
    pub(crate) const fn process(&self) -> &Process {
        &self.process
    }

    /// The memory of the server that has the least left for its size: as it was when all of them could be
    /// used last, since one that is away is no fuller and no emptier for that.
    pub(crate) fn memory(&self) -> Option<Memory> {
        if self.redis.ready().is_ok() {
            let of = |master: Master| {
                master.memory_limit.map(|limit| Memory { used: master.memory_used, limit })
            };
            let part = |memory: &Memory| memory.used.saturating_mul(1_000) / memory.limit.max(1);
            let least = self.redis.masters().into_iter().filter_map(of).max_by_key(part);
            self.memory.store(least.map(Arc::new));
        }
        self.memory.load().as_deref().copied()
    }

    /// What every script is told first: which history its caller believes in, who that is, and when.
    pub(crate) fn belief(
        &self,
        tag: &Tag,
        run: &[u8],
        now: UnixTime,
        apart: Duration,
    ) -> Vec<Vec<u8>> {
        vec![
            tag.mark.to_vec(),
            number(tag.steps()),
            self.process.to_vec(),
            number(tag.own()),
            moment(now),
            length(apart),
            run.to_vec(),
        ]
    }

    /// Takes a step on `key`, which counts only once the replicas that are waited for have it.
    pub(crate) async fn step(
        &self,
        script: &Script,
        key: &Key,
        args: &[Vec<u8>],
    ) -> Result<Value, StoreError> {
        let (history, entry) = (self.layout.history(tag_of(key)), self.layout.entry(key));
        Ok(self.redis.run_durably(script, &[&history, &entry], &slices(args)).await?)
    }
}

fn slices(args: &[Vec<u8>]) -> Vec<&[u8]> {
    args.iter().map(Vec::as_slice).collect()
}

/// Believing.
impl Histories {
    /// What was known last; nothing before Redis was reached for the first time.
    pub(crate) fn latest(&self) -> Option<Arc<Known>> {
        self.known.load_full()
    }

    /// The histories in which steps can be taken now.
    pub(crate) async fn known(&self) -> Result<Arc<Known>, StoreError> {
        let known = match self.latest() {
            Some(known) => known,
            None => self.read(None).await?,
        };
        self.check_usable(&known)?;
        Ok(known)
    }

    /// Whether steps can be taken in them now.
    pub(crate) fn check_usable(&self, known: &Known) -> Result<(), StoreError> {
        self.check_pause(known)?;
        known.evicts.as_ref().map_or(Ok(()), |policy| Err(evicts(policy)))
    }

    /// Whether steps can be taken in one part of them now.
    pub(crate) fn check_part(&self, part: &Part) -> Result<(), StoreError> {
        if self.clock.monotonic() >= part.usable_from {
            return Ok(());
        }
        let why =
            "it is another server, or was started anew: whether it has everything is being seen";
        Err(StoreError::Down(why.to_owned()))
    }

    /// Whether the pause after a forgetting is over.
    pub(crate) fn check_pause(&self, known: &Known) -> Result<(), StoreError> {
        if self.clock.monotonic() >= known.usable_from {
            return Ok(());
        }
        Err(StoreError::Down("it had forgotten what it held, and begins anew".to_owned()))
    }

    /// Reads all histories, unless somebody else has done so since `stale` was known.
    pub(crate) async fn read(&self, stale: Option<&Arc<Known>>) -> Result<Arc<Known>, StoreError> {
        let _turn = self.reading.lock().await;
        if let Some(known) = self.latest()
            && stale.is_none_or(|stale| !Arc::ptr_eq(stale, &known))
        {
            return Ok(known);
        }
        Ok(self.read_now().await?.known)
    }

    /// Reads all histories, and asks every server whether it would keep a promise.
    pub(crate) async fn look(&self) -> Result<Look, StoreError> {
        let _turn = self.reading.lock().await;
        self.read_now().await
    }

    /// One caller at a time.
    async fn read_now(&self) -> Result<Look, StoreError> {
        let former = self.latest();
        let forgotten_after = REMEMBERED.saturating_sub(HEARD * 2);
        let forgotten =
            |known: &Known| self.clock.monotonic().saturating_sub(known.read_at) >= forgotten_after;
        let tags = match &former {
            Some(known) if forgotten(known) => known.tags_without_own_steps(),
            Some(known) => known.tags(),
            None => Vec::new(),
        };
        // The first alone: if the servers do not have the script yet, it need not be sent 64 times.
        let mut told = vec![self.read_tag(0, &tags).await?];
        told.extend(try_join_all((1..TAGS).map(|number| self.read_tag(number, &tags))).await?);
        let mut known = Known::new(&told, &tags, self.clock.monotonic());
        if let Some(former) = former {
            known.usable_from = self.usable_from(&former, &known);
        }
        let mut room = Ok(());
        for number in known.one_on_each() {
            match self.probe(&known, number).await {
                Ok(None) => {}
                Ok(policy) => known.evicts = policy,
                Err(StoreError::Full) => room = Err(StoreError::Full),
                Err(error) => return Err(error),
            }
        }
        let known = Arc::new(known);
        self.known.store(Some(Arc::clone(&known)));
        Ok(Look { known, told, room })
    }

    fn usable_from(&self, former: &Known, known: &Known) -> Duration {
        if former.incarnation == known.incarnation {
            return former.usable_from;
        }
        tracing::warn!(
            "the store has forgotten what it held: it begins a new history, and links made before \
             are refused"
        );
        self.clock.monotonic().saturating_add(PAUSE)
    }

    async fn read_tag(&self, which: usize, former: &[Arc<Tag>]) -> Result<Told, StoreError> {
        let mark: [u8; 8] =
            draw(self.entropy.as_ref()).map_err(|error| StoreError::Down(error.to_string()))?;
        let now = self.clock.now();
        let nothing = Tag::unknown();
        let believed = former.get(which).map_or(&nothing, Arc::as_ref);
        let mut args = self.belief(believed, &[], now, APART);
        args.extend([number(believed.since), mark.to_vec()]);
        args.extend([REMEMBERED, HEARD, LASTING, OTHERS].map(length));
        let history = self.layout.history(which);
        let script = &self.scripts.history;
        Told::parse(self.redis.run_durably(script, &[&history], &slices(&args)).await?)
    }

    /// The policy by which the server of the tag `number` drops what has not ended, if it does.
    async fn probe(&self, known: &Known, number: usize) -> Result<Option<String>, StoreError> {
        let part = known.part(number).ok_or_else(strange)?;
        let args = self.belief(&part.tag, &part.run, self.clock.now(), Duration::MAX);
        let history = self.layout.history(number);
        let keys: [&[u8]; 2] = [&history, &history];
        let answer = self.redis.run(&self.scripts.probe, &keys, &slices(&args)).await?;
        let answer = Answer::parse(answer)?;
        match answer.word.as_str() {
            "sound" => Ok(None),
            "evicts" => {
                Ok(answer.value.map(|policy| String::from_utf8_lossy(&policy).into_owned()))
            }
            "forgot" | "moved" => {
                Err(StoreError::Down("it forgets what it has just said".to_owned()))
            }
            _ => Err(strange()),
        }
    }
}

fn evicts(policy: &str) -> StoreError {
    StoreError::Down(format!(
        "Redis drops what has not ended when its memory is full (maxmemory-policy {policy}): set \
         maxmemory-policy noeviction"
    ))
}
