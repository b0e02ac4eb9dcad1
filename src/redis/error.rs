//! Why Redis gave no answer.

/// Redis cannot be set up as the configuration says.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// An address is none.
    #[error("state.redis.addresses: {address:?} is no address; write host:port")]
    Address {
        /// What was written.
        address: String,
    },
}

/// A call to Redis failed. Whether it took effect is open in the case of [`RedisError::Down`].
#[derive(Clone, Debug, thiserror::Error)]
pub enum RedisError {
    /// It does not answer, or not in time, or not as agreed.
    #[error("Redis does not answer: {0}")]
    Down(String),
    /// It has no memory left.
    #[error("Redis is full")]
    Full,
}
