//! The buckets that all replicas share.
//!
//! A call asks all of its buckets in one step of Redis, on Redis' clock. Where there is no answer in
//! time there is none at all, and this replica's own buckets have spoken already.

use std::sync::Arc;
use std::time::Duration;

use redis::{Script, Value, from_redis_value};
use tokio::time::timeout;

use crate::clock::Clock;
use crate::gateway::limit::buckets::{Answer, Left, Wait};
use crate::gateway::limit::metrics::{Metrics, Share};
use crate::gateway::limit::question::Question;
use crate::gateway::limit::reach::{Leave, Reach};
use crate::redis::Redis;

const GCRA: &str = include_str!("gcra.lua");

/// On which buckets to draw where some have room and others have not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Draws {
    /// None: the call does not go on.
    AllOrNone,
    /// Those that have room: the call goes on.
    Each,
}

/// The way to them.
#[derive(Debug)]
pub(crate) struct Fleet {
    redis: Redis,
    script: Script,
    reach: Reach,
}

impl Fleet {
    /// Redis may be away.
    pub(crate) fn new(redis: Redis, clock: Arc<dyn Clock>, metrics: Metrics) -> Self {
        Self { redis, script: Script::new(GCRA), reach: Reach::new(clock, metrics) }
    }

    /// One answer for each question, or none at all, after no longer than `patience`. The questions are
    /// about one address or one client.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        patience: Duration,
        draws: Draws,
        questions: &[Question<'_>],
    ) -> Option<Vec<Answer>> {
        let leave = self.reach.leave()?;
        let call = Call::new(self.redis.prefix(), draws, questions);
        match leave {
            Leave::Usual => self.run(leave, patience, &call).await,
            Leave::Trial => {
                // Nobody waits for it, and no caller who goes away meanwhile ends it.
                let fleet = Arc::clone(self);
                tokio::spawn(async move { fleet.run(leave, patience, &call).await });
                None
            }
        }
    }

    /// Draws on a bucket that nobody else has, to find out whether it is back, where it is away and a trial
    /// is due.
    pub(crate) async fn look(&self, patience: Duration) {
        if let Some(leave @ Leave::Trial) = self.reach.leave() {
            let call = Call::trial(self.redis.prefix());
            let _room = self.run(leave, patience, &call).await;
        }
    }

    async fn run(&self, leave: Leave, patience: Duration, call: &Call) -> Option<Vec<Answer>> {
        let keys: Vec<&[u8]> = call.keys.iter().map(String::as_bytes).collect();
        let words: Vec<&[u8]> = call.words.iter().map(String::as_bytes).collect();
        let ran = timeout(patience, self.redis.run(&self.script, &keys, &words)).await;
        let answers = match ran {
            Ok(Ok(value)) => answers(value, keys.len()),
            Ok(Err(error)) => Err((Share::Failed, error.to_string())),
            Err(late) => Err((Share::Late, late.to_string())),
        };
        match answers {
            Ok(answers) => {
                self.reach.answered(leave);
                Some(answers)
            }
            Err((how, why)) => {
                self.reach.failed(how, &why);
                None
            }
        }
    }
}

/// What the script is given.
#[derive(Debug)]
struct Call {
    keys: Vec<String>,
    words: Vec<String>,
}

impl Call {
    /// One that leaves nothing behind, and is answered only by a server that takes what it is to keep.
    fn trial(prefix: &str) -> Self {
        let words = ["each", "1", "0", "draw"].map(str::to_owned).to_vec();
        Self { keys: vec![format!("{prefix}:v1:limit:trial")], words }
    }

    fn new(prefix: &str, draws: Draws, questions: &[Question<'_>]) -> Self {
        let mut keys = Vec::with_capacity(questions.len());
        let mut words = vec![match draws {
            Draws::AllOrNone => "all".to_owned(),
            Draws::Each => "each".to_owned(),
        }];
        for question in questions {
            let quota = question.buckets.quota();
            keys.push(question.subject.name(prefix, question.limit, quota));
            let every = quota.replenish_interval();
            let slack = every.saturating_mul(quota.burst_size().get().saturating_sub(1));
            words.push(every.as_nanos().to_string());
            words.push(slack.as_nanos().to_string());
            words.push(if question.draws { "draw" } else { "look" }.to_owned());
        }
        Self { keys, words }
    }
}

/// What the script returned, which is one pair for each question.
fn answers(value: Value, questions: usize) -> Result<Vec<Answer>, (Share, String)> {
    let pairs: Vec<(u64, u32)> = from_redis_value(value).unwrap_or_default();
    if pairs.len() != questions {
        return Err((Share::Failed, "it answers something else".to_owned()));
    }
    let answer = |(wait, left)| match wait {
        0 => Ok(Left(left)),
        wait => Err(Wait(Duration::from_nanos(wait))),
    };
    Ok(pairs.into_iter().map(answer).collect())
}
