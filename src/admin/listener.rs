//! The admin listener: accepts, reads one request, answers, closes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::admin::action::Operated;
use crate::admin::answer::Desk;
use crate::admin::guard::Mark;
use crate::admin::settings::{LoopbackAddress, NotLoopback, Settings};
use crate::clock::Clock;
use crate::entropy::{Entropy, NoEntropy};
use crate::listening::{Bounds, answer_each, why};

const BOUNDS: Bounds = Bounds {
    // A few people look; whoever floods it takes nothing from calls.
    connections: 16,
    headers: 64,
    // Browsers send the cookies of everything on this machine.
    buffer: 64 * 1024,
    // An action waits for a key server that may take some seconds.
    deadline: Duration::from_secs(20),
};

/// Why there is no admin listener.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The system refuses the address.
    #[error("admin: cannot listen on {address}: {}; or write admin.enabled = false", why(source))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// What was handed over is no listener.
    #[error("admin: the socket that was handed over cannot be used: {0}")]
    Socket(io::Error),
    /// Others could reach what was handed over.
    #[error("admin: the socket that was handed over: {0}")]
    Reachable(#[from] NotLoopback),
    /// Its forms could be guessed.
    #[error("admin: {0}")]
    NoEntropy(#[from] NoEntropy),
}

/// The admin listener, bound, and not yet serving.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
    mark: Mark,
    clock: Arc<dyn Clock>,
}

impl Admin {
    /// Opens the listener, where there is to be one.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn bind(
        settings: &Settings,
        clock: Arc<dyn Clock>,
        entropy: &dyn Entropy,
    ) -> Result<Option<Self>, AdminError> {
        if !settings.enabled {
            return Ok(None);
        }
        let wanted = settings.address.get();
        let refused = |source| AdminError::Listen { address: wanted, source };
        let listener = TcpListener::bind(wanted).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Some(Self { listener, address, mark: Mark::new(entropy)?, clock }))
    }

    /// Takes a socket that listens already, whatever the settings say. Others must not reach it either.
    ///
    /// # Errors
    /// [`AdminError`]
    pub fn take(
        socket: std::net::TcpListener,
        clock: Arc<dyn Clock>,
        entropy: &dyn Entropy,
    ) -> Result<Self, AdminError> {
        let address = socket.local_addr().map_err(AdminError::Socket)?;
        LoopbackAddress::try_from(address)?;
        socket.set_nonblocking(true).map_err(AdminError::Socket)?;
        let listener = TcpListener::from_std(socket).map_err(AdminError::Socket)?;
        Ok(Self { listener, address, mark: Mark::new(entropy)?, clock })
    }

    /// Where it listens: the port that was found where port 0 was asked for.
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is cancelled: an operator may watch a shutdown to its end.
    pub async fn serve(self, operated: Arc<dyn Operated>, stop: CancellationToken) {
        let desk = Arc::new(Desk::new(operated, self.mark, self.clock));
        let handle = move |request| {
            let desk = Arc::clone(&desk);
            async move { desk.answer(request).await }
        };
        answer_each(self.listener, BOUNDS, handle, stop).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::entropy::SeededEntropy;

    #[tokio::test]
    async fn a_socket_that_is_handed_over_must_be_out_of_others_reach() {
        let take = |address: &str| {
            let socket = std::net::TcpListener::bind(address).unwrap();
            Admin::take(socket, Arc::new(SystemClock::new()), &SeededEntropy::new(1))
        };
        assert!(take("127.0.0.1:0").unwrap().local_addr().ip().is_loopback());
        let refused = take("0.0.0.0:0").unwrap_err().to_string();
        assert!(
            refused.contains("can be reached from elsewhere, and there is no login"),
            "{refused}"
        );
    }
}
