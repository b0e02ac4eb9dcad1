//! A look into the store that takes no step in it, for a process that is no replica.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::try_join_all;
use redis::{FromRedisValue, Script};

use crate::clock::Clock;
use crate::redis::Redis;
use crate::store::contract::{Incarnation, Key, StoreError, View};
use crate::store::redis::history::named;
use crate::store::redis::layout::{Layout, TAGS, entry_value, tag_of};
use crate::store::redis::script::strange;

/// What a store in Redis holds.
#[derive(Debug)]
pub struct RedisView {
    redis: Redis,
    layout: Layout,
    script: Script,
    clock: Arc<dyn Clock>,
}

/// Mark and beginning of a tag's history, and an entry.
type Row = (Option<Vec<u8>>, Option<u64>, Option<Vec<u8>>);

impl RedisView {
    /// Looks through `redis`.
    pub fn new(redis: Redis, clock: Arc<dyn Clock>) -> Self {
        let layout = Layout::new(redis.prefix());
        let script = Script::new(concat!("#!lua flags=no-writes\n", include_str!("view.lua")));
        Self { redis, layout, script, clock }
    }

    async fn row(&self, tag: usize, entry: &[u8]) -> Result<Row, StoreError> {
        let history = self.layout.history(tag);
        let value = self.redis.run(&self.script, &[&history, entry], &[]).await?;
        Row::from_redis_value(value).map_err(|_| strange())
    }
}

#[async_trait]
impl View for RedisView {
    async fn history(&self) -> Result<Option<Incarnation>, StoreError> {
        let tag = |tag| async move { self.row(tag, &self.layout.history(tag)).await };
        let rows = try_join_all((0..TAGS).map(tag)).await;
        let rows = rows?;
        let told: Option<Vec<([u8; 8], u64)>> = rows
            .into_iter()
            .map(|(mark, since, _)| Some((mark?.try_into().ok()?, since?)))
            .collect();
        Ok(told.map(|told| named(told.into_iter())))
    }

    async fn get(&self, key: Key) -> Result<Option<Bytes>, StoreError> {
        let (_, _, row) = self.row(tag_of(&key), &self.layout.entry(&key)).await?;
        let now = self.clock.now();
        Ok(row.and_then(|row| entry_value(&row, now)))
    }
}
