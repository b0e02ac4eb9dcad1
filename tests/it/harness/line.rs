//! The network between gateway and service: it can be cut, and joined again at the same address.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A port that leads to another one as long as this exists. Afterwards connecting to it is refused.
pub(crate) struct Line(JoinHandle<()>);

impl Line {
    pub(crate) async fn join(port: u16, service: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        Self(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                connections.spawn(async move {
                    let mut far = TcpStream::connect(service).await.unwrap();
                    // A connection that breaks off concerns its two ends only.
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        }))
    }

    /// Cuts the line: nothing goes through any more, and nobody listens.
    pub(crate) async fn cut(self) {
        self.0.abort();
        // Whether the task was ended by this or by itself is one to who waits for its end.
        let _ = self.0.await;
    }
}
