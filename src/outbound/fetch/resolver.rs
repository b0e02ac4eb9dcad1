//! Resolving a name to addresses that may be dialled.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::vec;

use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;

use crate::outbound::fetch::reach::Reach;

/// No address of the host may be dialled.
#[derive(Debug, thiserror::Error)]
#[error("the address is private or reserved")]
pub(super) struct ForbiddenAddress;

/// The system's resolver, with every address left out that may not be dialled.
#[derive(Clone, Debug)]
pub(super) struct GuardedResolver(pub(super) Reach);

impl Service<Name> for GuardedResolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let reach = self.0;
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let any = !found.is_empty();
            let allowed: Vec<SocketAddr> =
                found.into_iter().filter(|address| reach.allows(address.ip())).collect();
            if any && allowed.is_empty() {
                return Err(io::Error::other(ForbiddenAddress));
            }
            Ok(allowed.into_iter())
        })
    }
}
