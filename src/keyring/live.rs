//! The ring in use, which another may take the place of while requests are served.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::clock::UnixTime;
use crate::keyring::ring::Keyring;

/// Gives the ring in use. A step asks once and works with that ring to its end, so that it never sees
/// two: what a rotation replaces meanwhile counts from the next step on.
#[derive(Debug)]
pub struct LiveKeyring {
    held: ArcSwap<Held>,
}

#[derive(Debug)]
struct Held {
    ring: Arc<Keyring>,
    since: UnixTime,
}

impl LiveKeyring {
    /// Begins with `ring`, in use since `now`.
    pub fn new(ring: Keyring, now: UnixTime) -> Self {
        Self { held: ArcSwap::from_pointee(Held { ring: Arc::new(ring), since: now }) }
    }

    /// The ring in use.
    pub fn ring(&self) -> Arc<Keyring> {
        Arc::clone(&self.held.load().ring)
    }

    /// Since when it is in use.
    pub fn since(&self) -> UnixTime {
        self.held.load().since
    }

    /// Puts another ring in its place.
    pub fn replace(&self, ring: Keyring, now: UnixTime) {
        self.held.store(Arc::new(Held { ring: Arc::new(ring), since: now }));
    }
}
