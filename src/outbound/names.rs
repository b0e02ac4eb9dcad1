//! Looking names up.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use async_trait::async_trait;

/// Tells the addresses behind a name.
#[async_trait]
pub trait Resolver: Send + Sync + fmt::Debug + 'static {
    /// The addresses of `host`, each with `port`, the one to be preferred first.
    ///
    /// # Errors
    /// Where there is no such name, or nobody who could tell.
    async fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// The system's resolver, in the order of RFC 6724.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }
}
