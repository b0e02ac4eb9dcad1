//! A way to a server on which requests or answers get lost, and which can be led to another server.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// What becomes of what passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// It passes.
    Open,
    /// A connection is dropped at its next request, which the server never sees.
    LosesRequests,
    /// A connection is dropped at its next answer, which the server has given.
    LosesAnswers,
    /// The same once, and then it passes.
    LosesOneAnswer,
}

/// The proxy; it ends, with its connections, when it is dropped.
pub(crate) struct Proxy {
    address: String,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

struct Shared {
    target: Mutex<String>,
    way: Mutex<Way>,
    cut: Notify,
}

impl Proxy {
    /// A proxy to the server at `target`.
    pub(crate) async fn to(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared {
            target: Mutex::new(target),
            way: Mutex::new(Way::Open),
            cut: Notify::new(),
        });
        let carried = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, Arc::clone(&carried)));
            }
        });
        Self { address, shared, accepting: accepting.abort_handle() }
    }

    /// `host:port`
    pub(crate) fn address(&self) -> String {
        self.address.clone()
    }

    pub(crate) fn set(&self, way: Way) {
        *self.shared.way.lock().unwrap() = way;
    }

    /// Leads to another server from now on, and drops what leads to the former.
    pub(crate) fn lead_to(&self, target: String) {
        *self.shared.target.lock().unwrap() = target;
        self.shared.cut.notify_waiters();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.shared.cut.notify_waiters();
    }
}

impl Shared {
    fn passes_requests(&self) -> bool {
        *self.way.lock().unwrap() != Way::LosesRequests
    }

    fn passes_answers(&self) -> bool {
        let mut way = self.way.lock().unwrap();
        match *way {
            Way::Open | Way::LosesRequests => true,
            Way::LosesAnswers => false,
            Way::LosesOneAnswer => {
                *way = Way::Open;
                false
            }
        }
    }
}

/// Carries until one side ends, or something is to be lost.
async fn carry(mut client: TcpStream, shared: Arc<Shared>) {
    let cut = shared.cut.notified();
    tokio::pin!(cut);
    cut.as_mut().enable();
    let target = shared.target.lock().unwrap().clone();
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let (mut asked, mut answered) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        let done = tokio::select! {
            read = client.read(&mut asked) => match read {
                Ok(1..) if !shared.passes_requests() => return,
                Ok(length @ 1..) => server.write_all(&asked[..length]).await,
                Ok(0) | Err(_) => return,
            },
            read = server.read(&mut answered) => match read {
                Ok(1..) if !shared.passes_answers() => return,
                Ok(length @ 1..) => client.write_all(&answered[..length]).await,
                Ok(0) | Err(_) => return,
            },
            () = &mut cut => return,
        };
        if done.is_err() {
            return;
        }
    }
}
