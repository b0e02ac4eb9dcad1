//! One cluster for all tests that do not harm it, one after the other.
//!
//! To start one takes seconds, and what is static is never dropped. So this binary runs itself once more
//! as a child, which starts the cluster, says where it is, and stops it when its standard input ends: that
//! is when the tests have ended, however they do.

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use tokio::sync::{Mutex, MutexGuard};

use crate::backends::ask;
use crate::cluster::Cluster;

const CHILD: &str = "CLUSTER_OF_THE_CHILD";
const SAID: &str = "the cluster is at ";

static KEEPER: OnceLock<Keeper> = OnceLock::new();
static TURN: Mutex<()> = Mutex::const_new(());

/// The child, and where its cluster is.
struct Keeper {
    addresses: Vec<String>,
    _child: Child,
}

/// The cluster, empty, until this is dropped.
pub(crate) struct CommonCluster {
    _turn: MutexGuard<'static, ()>,
}

impl CommonCluster {
    /// Waits for it. Nobody takes it twice at the same time.
    pub(crate) async fn take() -> Self {
        let turn = TURN.lock().await;
        let cluster = Self { _turn: turn };
        for address in cluster.addresses() {
            assert_eq!(ask(address, &["FLUSHALL", "SYNC"]), "OK");
        }
        cluster
    }

    /// `host:port` of each of its three masters.
    pub(crate) fn addresses(&self) -> &[String] {
        &KEEPER.get_or_init(start).addresses
    }
}

fn start() -> Keeper {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "common::child_keeps_a_cluster", "--nocapture", "--test-threads=1"])
        .env(CHILD, "yes")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let addresses = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(|line| line.expect("the child starts a cluster"))
        .find_map(|line| Some(line.split_once(SAID)?.1.split(' ').map(str::to_owned).collect()));
    Keeper { addresses: addresses.expect("the child starts a cluster"), _child: child }
}

/// The child: nothing to do in an ordinary run.
#[test]
fn child_keeps_a_cluster() {
    if env::var_os(CHILD).is_none() {
        return;
    }
    let cluster = Cluster::start();
    let said = format!("{SAID}{}\n", cluster.addresses().join(" "));
    std::io::stdout().write_all(said.as_bytes()).unwrap();
    let _tests_have_ended = std::io::stdin().read_to_end(&mut Vec::new());
    drop(cluster);
    // Nobody reads any more how this test went.
    std::process::exit(0);
}
