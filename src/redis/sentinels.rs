//! Who is the master now. The sentinels are asked anew each time.

use std::collections::HashMap;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::timeout;

use crate::redis::address::Address;
use crate::redis::dial::{Dialer, PATIENCE, refused};
use crate::redis::login::Login;
use crate::redis::trouble::Trouble;

/// The sentinels that watch a master.
pub(super) struct Sentinels {
    pub(super) addresses: Vec<Address>,
    pub(super) master: String,
    pub(super) login: Login,
    pub(super) dialer: Dialer,
}

/// What the sentinels say.
pub(super) struct Named {
    pub(super) master: Address,
    /// Whether more than half of them say so. Fewer may be those that were cut off from the others.
    pub(super) by_majority: bool,
}

impl Sentinels {
    /// The master that most sentinels name. All are asked; a majority that agrees is not kept waiting
    /// for the rest.
    pub(super) async fn master(&self) -> Result<Named, Trouble> {
        let mut asked: FuturesUnordered<_> =
            self.addresses.iter().map(|sentinel| self.ask(sentinel)).collect();
        let mut votes: HashMap<Address, usize> = HashMap::new();
        let mut trouble = Trouble::NoMaster;
        while let Some(answer) = asked.next().await {
            match answer {
                Ok(Some(master)) => {
                    let count = votes.entry(master.clone()).or_default();
                    *count += 1;
                    if *count * 2 > self.addresses.len() {
                        return Ok(Named { master, by_majority: true });
                    }
                }
                Ok(None) => {}
                Err(error) => trouble = error,
            }
        }
        let most = votes.into_iter().max_by_key(|(_, count)| *count);
        most.map(|(master, _)| Named { master, by_majority: false }).ok_or(trouble)
    }

    async fn ask(&self, sentinel: &Address) -> Result<Option<Address>, Trouble> {
        let mut wire = self.dialer.dial(sentinel, &self.login, 0).await?;
        let mut command = redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.master);
        let asked = command.query_async::<Option<(String, u16)>>(&mut wire.connection);
        let named = timeout(PATIENCE, asked)
            .await
            .map_err(|_elapsed| Trouble::Late(sentinel.clone()))?
            .map_err(|error| refused(sentinel, &error))?;
        Ok(named.map(|(host, port)| Address::new(host, port)))
    }
}
