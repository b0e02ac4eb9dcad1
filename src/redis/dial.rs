//! One connection: resolved, dialled, shaken hands on, and logged in.

use std::io;
use std::time::Duration;

use futures_util::future::select_ok;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, RedisConnectionInfo};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::redis::address::Address;
use crate::redis::login::Login;
use crate::redis::tls::Tls;
use crate::redis::trouble::{Trouble, code_of};

/// How long it may take to make a connection, and to have an answer that no caller waits for.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// Calls that wait for the socket to take them.
const QUEUE: usize = 1024;

/// How connections are made. TLS is our own, so that no roots but ours count.
#[derive(Clone)]
pub(super) struct Dialer {
    pub(super) tls: Option<Tls>,
    pub(super) server_name: Option<ServerName<'static>>,
}

/// A connection, and the task that carries it. It is closed once the task is dropped.
pub(super) struct Wire {
    pub(super) connection: MultiplexedConnection,
    pub(super) carrier: AbortOnDropHandle<()>,
}

impl Dialer {
    /// Connects to `address`. It takes no longer than [`PATIENCE`].
    pub(super) async fn dial(
        &self,
        address: &Address,
        login: &Login,
        database: u16,
    ) -> Result<Wire, Trouble> {
        let connecting = async {
            let says = login.now(database).await?;
            match &self.tls {
                None => speak(address, reach(address).await?, &says).await,
                Some(tls) => {
                    let tls = tls.now().await?;
                    let stream = reach(address).await?;
                    let name = self.name_of(address)?;
                    let shaken = tls.connect(name, stream).await;
                    let no_tls =
                        |error: io::Error| Trouble::Tls(address.clone(), error.to_string());
                    speak(address, shaken.map_err(no_tls)?, &says).await
                }
            }
        };
        timeout(PATIENCE, connecting)
            .await
            .unwrap_or_else(|_elapsed| Err(Trouble::Late(address.clone())))
    }

    fn name_of(&self, address: &Address) -> Result<ServerName<'static>, Trouble> {
        self.server_name.clone().map_or_else(
            || {
                ServerName::try_from(address.host().to_owned())
                    .map_err(|error| Trouble::Tls(address.clone(), error.to_string()))
            },
            Ok,
        )
    }
}

/// The first of the host's addresses to answer: one that drops packets delays nobody.
async fn reach(address: &Address) -> Result<TcpStream, Trouble> {
    let found = lookup_host((address.host(), address.port())).await;
    let attempts: Vec<_> = found
        .map_err(|_| Trouble::Name(address.clone()))?
        .map(|found| Box::pin(TcpStream::connect(found)))
        .collect();
    if attempts.is_empty() {
        return Err(Trouble::Name(address.clone()));
    }
    let unreachable = |error: io::Error| Trouble::Unreachable(address.clone(), error.kind());
    let (stream, _others) = select_ok(attempts).await.map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    Ok(stream)
}

async fn speak(
    address: &Address,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    says: &RedisConnectionInfo,
) -> Result<Wire, Trouble> {
    // Whoever calls has a deadline of its own.
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None)
        .set_pipeline_buffer_size(QUEUE);
    let (connection, carrier) = MultiplexedConnection::new_with_config(says, stream, config)
        .await
        .map_err(|error| refused(address, &error))?;
    Ok(Wire { connection, carrier: AbortOnDropHandle::new(tokio::spawn(carrier)) })
}

/// What an error reply, or none at all, says about the server.
pub(super) fn refused(address: &Address, error: &redis::RedisError) -> Trouble {
    if error.kind() == ErrorKind::AuthenticationFailed {
        return Trouble::Login(address.clone());
    }
    code_of(error).map_or_else(
        || Trouble::Lost(address.clone()),
        |code| Trouble::Refused { address: address.clone(), code },
    )
}
