//! The processes of one place: gateways, and the store that they share if there are several.

use crate::door::Door;
use crate::gateway::Gateway;
use crate::ledger::Row;
use crate::port::free_port;
use crate::server::RedisServer;
use crate::site::Site;

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    Kill,
    Terminate,
    PauseStore,
    KillStore,
    RotateKeys,
    StepClock,
}

impl Trouble {
    /// Where it is counted.
    pub(crate) const fn row(self) -> Row {
        match self {
            Self::Kill => Row::Killed,
            Self::Terminate => Row::Terminated,
            Self::PauseStore => Row::StorePaused,
            Self::KillStore => Row::StoreKilled,
            Self::RotateKeys => Row::KeysRotated,
            Self::StepClock => Row::ClockStepped,
        }
    }
}

/// Everything that can be killed. Dropping it ends everything.
pub(crate) struct Fleet {
    pub(crate) gateways: Vec<Gateway>,
    /// What the gateways share; none where one has a disk of its own.
    pub(crate) store: Option<RedisServer>,
    pub(crate) site: Site,
    ports: Vec<u16>,
}

impl Fleet {
    /// One gateway with a disk of its own.
    pub(crate) fn on_disk(upstream: &str) -> Self {
        let site = Site::new();
        let state = format!("[state]\ndirectory = \"{}\"", site.path("state").display());
        Self::start(site, upstream, &state, 1, None)
    }

    /// So many gateways that share a Redis.
    pub(crate) fn on_redis(upstream: &str, count: usize) -> Self {
        Self::on_redis_with(upstream, count, "")
    }

    /// The same, with further lines of `[state.redis]`.
    pub(crate) fn on_redis_with(upstream: &str, count: usize, lines: &str) -> Self {
        let store = RedisServer::start_with(&["--appendfsync", "always"]);
        let state = format!(
            "[state]\nbackend = \"redis\"\n[state.redis]\naddresses = [\"{}\"]\n{lines}",
            store.address()
        );
        Self::start(Site::new(), upstream, &state, count, Some(store))
    }

    fn start(
        site: Site,
        upstream: &str,
        state: &str,
        count: usize,
        store: Option<RedisServer>,
    ) -> Self {
        let ports: Vec<u16> = (0..count).map(|_| free_port()).collect();
        let configured = |(number, port): (usize, &u16)| {
            let text = site.config(*port, count, upstream, state);
            Gateway::new(site.write(&format!("gateway-{number}.toml"), &text))
        };
        let mut gateways: Vec<Gateway> = ports.iter().enumerate().map(configured).collect();
        // One of them has a clock that can be set.
        let last = gateways.pop().unwrap().with_clock(site.path("clock"));
        gateways.push(last);
        for gateway in &mut gateways {
            gateway.start();
        }
        Self { gateways, store, site, ports }
    }

    /// What can happen to it.
    pub(crate) fn troubles(&self) -> Vec<Trouble> {
        let mut kinds =
            vec![Trouble::Kill, Trouble::Terminate, Trouble::RotateKeys, Trouble::StepClock];
        if self.store.is_some() {
            kinds.extend([Trouble::PauseStore, Trouble::KillStore]);
        }
        kinds
    }

    /// The ways to the gateways.
    pub(crate) fn doors(&self) -> Vec<Door> {
        let ports = self.ports.iter().enumerate();
        ports.map(|(number, port)| Door::new(&self.site, number, *port)).collect()
    }
}
