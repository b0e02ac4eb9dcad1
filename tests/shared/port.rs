//! Ports for servers that a test starts later, or again.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// A port that nobody has. It lies below those that systems give to connections of their own, so that
/// a server that starts in a while, or was away for one, finds it free.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let spread = std::process::id() % 500 * 20;
    for _ in 0..10_000 {
        let port = 20_000 + (spread + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        let listener = u16::try_from(port).map(|port| TcpListener::bind(("127.0.0.1", port)));
        if let Ok(Ok(address)) = listener.map(|l| l.and_then(|l| l.local_addr())) {
            return address.port();
        }
    }
    panic!("no port is free")
}
