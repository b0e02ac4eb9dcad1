//! Whether a server that answers may be used.

use std::collections::HashMap;

use redis::aio::MultiplexedConnection;
use tokio::time::timeout;

use crate::redis::address::Address;
use crate::redis::dial::{PATIENCE, refused};
use crate::redis::trouble::{Trouble, Unfit};

/// The oldest version whose behaviour is known: it is the one that all tests run with.
const OLDEST: u32 = 7;

/// What a server says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Vitals {
    /// Replicas that are connected to it.
    pub(super) replicas: u64,
    /// Whether it writes to its disk what it does.
    pub(super) append_only: bool,
    /// Bytes that it uses.
    pub(super) memory_used: u64,
    /// Bytes that it may use; nothing where nobody limits them.
    pub(super) memory_limit: Option<u64>,
}

/// Asks a server how it is, and refuses what cannot keep a promise.
pub(super) async fn examine(
    address: &Address,
    connection: &MultiplexedConnection,
    cluster: bool,
) -> Result<Vitals, Trouble> {
    let mut connection = connection.clone();
    let asked = async move { redis::cmd("INFO").query_async::<String>(&mut connection).await };
    let text = timeout(PATIENCE, asked)
        .await
        .map_err(|_elapsed| Trouble::Late(address.clone()))?
        .map_err(|error| refused(address, &error))?;
    judge(&text, cluster).map_err(|unfit| Trouble::Unfit(address.clone(), unfit))
}

fn judge(text: &str, cluster: bool) -> Result<Vitals, Unfit> {
    let fields: HashMap<&str, &str> =
        text.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
    let field = |name: &str| fields.get(name).copied().unwrap_or_default();
    let number = |name: &str| field(name).parse().unwrap_or(0);
    let version = field("redis_version");
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < OLDEST) {
        return Err(Unfit::Version(word(version)));
    }
    if field("loading") == "1" {
        return Err(Unfit::Loading);
    }
    match (field("cluster_enabled") == "1", cluster) {
        (true, false) => return Err(Unfit::IsCluster),
        (false, true) => return Err(Unfit::NoCluster),
        (true, true) | (false, false) => {}
    }
    if field("role") != "master" {
        return Err(Unfit::Replica);
    }
    // Without a limit nothing is evicted today; with one, ids that were spent would come back to life.
    let policy = field("maxmemory_policy");
    if policy != "noeviction" {
        return Err(Unfit::Evicts(word(policy)));
    }
    Ok(Vitals {
        replicas: number("connected_slaves"),
        append_only: field("aof_enabled") == "1",
        memory_used: number("used_memory"),
        memory_limit: Some(number("maxmemory")).filter(|limit| *limit > 0),
    })
}

/// A word for a sentence, whatever the server says.
fn word(text: &str) -> String {
    let ordinary = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    let word: String = text.chars().filter(ordinary).take(32).collect();
    if word.is_empty() { "unknown".to_owned() } else { word }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# Server\r\nredis_version:7.0.15\r\nloading:0\r\nrole:master\r\n\
        connected_slaves:2\r\nmaxmemory:0\r\nused_memory:10\r\nmaxmemory_policy:noeviction\r\n\
        aof_enabled:1\r\ncluster_enabled:0\r\n";

    #[test]
    fn a_fit_server_is_fit() {
        let expected =
            Vitals { replicas: 2, append_only: true, memory_used: 10, memory_limit: None };
        assert_eq!(judge(GOOD, false), Ok(expected));
        let limited = GOOD.replace("maxmemory:0", "maxmemory:99");
        assert_eq!(judge(&limited, false).unwrap().memory_limit, Some(99));
        let newer = GOOD.replace("7.0.15", "10.1");
        assert!(judge(&newer, false).is_ok());
        let node = GOOD.replace("cluster_enabled:0", "cluster_enabled:1");
        assert!(judge(&node, true).is_ok());
    }

    #[test]
    fn each_flaw_is_found() {
        let flaws = [
            ("7.0.15", "6.2.14", Unfit::Version("6.2.14".to_owned())),
            ("redis_version:7.0.15\r\n", "", Unfit::Version("unknown".to_owned())),
            ("loading:0", "loading:1", Unfit::Loading),
            ("role:master", "role:slave", Unfit::Replica),
            ("role:master\r\n", "", Unfit::Replica),
            ("noeviction", "allkeys-lru", Unfit::Evicts("allkeys-lru".to_owned())),
            ("maxmemory_policy:noeviction\r\n", "", Unfit::Evicts("unknown".to_owned())),
            ("cluster_enabled:0", "cluster_enabled:1", Unfit::IsCluster),
        ];
        for (from, to, unfit) in flaws {
            assert_eq!(judge(&GOOD.replace(from, to), false), Err(unfit), "{to}");
        }
        assert_eq!(judge(GOOD, true), Err(Unfit::NoCluster));
        assert_eq!(judge("", false), Err(Unfit::Version("unknown".to_owned())));
    }
}
