//! How many connections may be open, in all and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;

use crate::doors::metrics::Closed;
use crate::peer;

/// Counts the open connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct Admission {
    places: Arc<Mutex<Places>>,
}

/// How many there may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) all: u32,
    /// From one address.
    pub(crate) per_address: u32,
}

#[derive(Debug, Default)]
struct Places {
    all: u32,
    by_network: HashMap<IpNet, u32>,
}

/// A connection's place, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Mutex<Places>>,
    bounds: Bounds,
    network: Option<IpNet>,
}

impl Admission {
    /// A place for a connection, whoever it comes from.
    ///
    /// # Errors
    /// Why there is none. A refused connection is closed and not left to wait: waiting ones would fill
    /// the system's queue, and nobody in it can be told from a client that will be served.
    pub(crate) fn admit(&self, bounds: Bounds) -> Result<Place, Closed> {
        let mut places = lock(&self.places);
        if places.all >= bounds.all {
            return Err(Closed::Full);
        }
        places.all = places.all.saturating_add(1);
        Ok(Place { places: Arc::clone(&self.places), bounds, network: None })
    }
}

impl Place {
    /// Counts it as one of `address`, once that is known.
    ///
    /// # Errors
    /// [`Closed::AddressFull`]
    pub(crate) fn belongs_to(&mut self, address: IpAddr) -> Result<(), Closed> {
        let network = peer::network(address);
        let mut places = lock(&self.places);
        let here = places.by_network.entry(network).or_default();
        if *here >= self.bounds.per_address {
            return Err(Closed::AddressFull);
        }
        *here = here.saturating_add(1);
        self.network = Some(network);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = lock(&self.places);
        places.all = places.all.saturating_sub(1);
        let Some(network) = self.network else { return };
        if let Some(here) = places.by_network.get_mut(&network) {
            *here = here.saturating_sub(1);
            if *here == 0 {
                places.by_network.remove(&network);
            }
        }
    }
}

fn lock(places: &Mutex<Places>) -> MutexGuard<'_, Places> {
    // Nothing between lock and unlock can leave the numbers half changed.
    places.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_all_and_each_network_and_forgets_who_left() {
        let (admission, bounds) = (Admission::default(), Bounds { all: 3, per_address: 2 });
        let admit = |address: &str| {
            let mut place = admission.admit(bounds)?;
            place.belongs_to(address.parse().unwrap()).map(|()| place)
        };
        let first = admit("2001:db8::1").unwrap();
        let _second = admit("2001:db8::2").unwrap();
        assert_eq!(admit("2001:db8::3").unwrap_err(), Closed::AddressFull);
        let _third = admit("192.0.2.1").unwrap();
        assert_eq!(admit("192.0.2.2").unwrap_err(), Closed::Full);
        drop(first);
        drop(admit("2001:db8::3").unwrap());
        drop(admit("::ffff:192.0.2.1").unwrap());
        drop(admission.admit(bounds).unwrap());
        assert_eq!(lock(&admission.places).all, 2);
        assert_eq!(lock(&admission.places).by_network.len(), 2);
    }
}
