//! Redis or Valkey: what all replicas share.
//!
//! A call waits no longer than the configured time, whatever the server or the network does.

pub mod settings;
pub mod error;

use std::fmt;
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, ConnectionAddr, IntoConnectionInfo, Script, Value};
use tokio::time::timeout;

pub use error::{RedisError, SetupError};
pub use settings::Settings;

/// The way to Redis. A clone shares its connection.
#[derive(Clone)]
pub struct Redis {
    connection: ConnectionManager,
    prefix: String,
    patience: Duration,
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Redis {
    /// Gets ready to connect. Redis may be away: then calls fail until it is there.
    ///
    /// # Errors
    /// [`SetupError`] where the settings cannot be used.
    pub fn open(settings: &Settings) -> Result<Self, SetupError> {
        let address = settings.addresses.first().cloned().unwrap_or_default();
        let bad = || SetupError::Address { address: address.clone() };
        let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
        let port = port.parse().map_err(|_| bad())?;
        let address = ConnectionAddr::Tcp(host.to_owned(), port);
        let client = address.into_connection_info().and_then(Client::open).map_err(|_| bad())?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_connection_timeout(Some(settings.timeout.get()))
            .set_response_timeout(Some(settings.timeout.get()));
        let connection = client.get_connection_manager_lazy(config).map_err(|_| bad())?;
        Ok(Self { connection, prefix: settings.prefix.clone(), patience: settings.timeout.get() })
    }

    /// What every key begins with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Runs `script` in one atomic step where `keys` are; all of them lie in one hash slot.
    ///
    /// # Errors
    /// [`RedisError`]
    pub async fn run(
        &self,
        script: &Script,
        keys: &[&[u8]],
        args: &[&[u8]],
    ) -> Result<Value, RedisError> {
        let mut invocation = script.prepare_invoke();
        for key in keys {
            invocation.key(key);
        }
        for arg in args {
            invocation.arg(arg);
        }
        let mut connection = self.connection.clone();
        match timeout(self.patience, invocation.invoke_async(&mut connection)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(translate(&error)),
            Err(_) => Err(RedisError::Down("no answer in time".to_owned())),
        }
    }
}

fn translate(error: &redis::RedisError) -> RedisError {
    if error.code() == Some("OOM") {
        return RedisError::Full;
    }
    RedisError::Down(format!("{:?}", error.kind()))
}
