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
use crate::gateway::limit::reach::Reach;
use crate::redis::{Redis, RedisError};

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
        &self,
        patience: Duration,
        draws: Draws,
        questions: &[Question<'_>],
    ) -> Option<Vec<Answer>> {
        let leave = self.reach.leave()?;
        let answers = match timeout(patience, self.run(draws, questions)).await {
            Ok(Ok(value)) => answers(value, questions.len()),
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

    async fn run(&self, draws: Draws, questions: &[Question<'_>]) -> Result<Value, RedisError> {
        let mut keys = Vec::with_capacity(questions.len());
        let mut words = vec![match draws {
            Draws::AllOrNone => "all".to_owned(),
            Draws::Each => "each".to_owned(),
        }];
        for question in questions {
            let quota = question.buckets.quota();
            keys.push(question.subject.name(self.redis.prefix(), question.limit, quota));
            let every = quota.replenish_interval();
            let slack = every.saturating_mul(quota.burst_size().get().saturating_sub(1));
            words.push(every.as_nanos().to_string());
            words.push(slack.as_nanos().to_string());
            words.push(if question.draws { "draw" } else { "look" }.to_owned());
        }
        let keys: Vec<&[u8]> = keys.iter().map(String::as_bytes).collect();
        let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
        self.redis.run(&self.script, &keys, &words).await
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
