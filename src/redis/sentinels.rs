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

impl Sentinels {
    /// The master that more than half of the sentinels name: fewer may be those that were cut off from the
    /// others, with a master that was replaced. All are asked; a majority that agrees is not kept waiting
    /// for the rest.
    ///
    /// # Errors
    /// [`Trouble::NoMaster`] where they answer otherwise, or why too few of them do.
    pub(super) async fn master(&self) -> Result<Address, Trouble> {
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
                        return Ok(master);
                    }
                }
                Ok(None) => {}
                Err(error) => trouble = error,
            }
        }
        Err(if votes.is_empty() { trouble } else { Trouble::NoMaster })
    }

    /// It takes no longer than [`PATIENCE`].
    async fn ask(&self, sentinel: &Address) -> Result<Option<Address>, Trouble> {
        let asked = async {
            let mut wire = self.dialer.dial(sentinel, &self.login, 0).await?;
            let mut command = redis::cmd("SENTINEL");
            command.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.master);
            let named = command.query_async::<Option<(String, u16)>>(&mut wire.connection).await;
            named.map_err(|error| refused(sentinel, &error))
        };
        let named = timeout(PATIENCE, asked)
            .await
            .unwrap_or_else(|_elapsed| Err(Trouble::Late(sentinel.clone())))?;
        Ok(named.map(|(host, port)| Address::new(host, port)))
    }
}
