//! `kill -9` in the middle of spends: whatever a caller was told stays true.
//!
//! The test runs its own binary again as a child that spends and says so, and kills it at a moment
//! that differs from round to round. A kill leaves the page cache: that syncs are waited for is
//! tried elsewhere, with a disk that forgets.

use std::collections::HashSet;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use hookgate::store::{Insert, Store};

use crate::backends::{at, key, nonce, open, value};

const FOLDER: &str = "STORE_OF_THE_CHILD";
const BEGIN: &str = "BEGIN_OF_THE_CHILD";
const ROUNDS: u64 = 12;
const EACH: u64 = 100_000;
const CALLERS: u64 = 8;

/// The child: nothing to do in an ordinary run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_spends() {
    let (Some(folder), Some(begin)) = (env::var_os(FOLDER), env::var_os(BEGIN)) else { return };
    let begin: u64 = begin.to_str().unwrap().parse().unwrap();
    let store = Arc::new(open(&PathBuf::from(folder)));
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for n in (begin + caller..begin + EACH).step_by(CALLERS as usize) {
                    let first = store.insert(key(n), nonce(), value(n), at(60)).await.unwrap();
                    assert_eq!(first, Insert::First);
                    // One write a line: the parent never sees half of one taken for a whole.
                    std::io::stdout().write_all(format!("spent {n}.\n").as_bytes()).unwrap();
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
}

/// Lets a child spend until it has said so `lines` times, and kills it; what it said.
fn spend_and_kill(folder: &std::path::Path, begin: u64, lines: usize) -> Vec<u64> {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "kill::child_spends", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .env(BEGIN, begin.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let parse = |line: &str| -> Option<u64> {
        line.split("spent ").nth(1)?.strip_suffix('.')?.parse().ok()
    };
    let mut said = Vec::new();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    while said.len() < lines {
        let line = output.next().unwrap().unwrap();
        said.extend(parse(&line));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What it had said before it died and nobody had read yet was said all the same.
    said.extend(output.map_while(Result::ok).filter_map(|line| parse(&line)));
    said
}

#[tokio::test]
async fn nothing_answered_is_lost_and_nothing_is_first_twice() {
    let folder = tempfile::tempdir().unwrap();
    let mut first: HashSet<u64> = HashSet::new();
    let mut incarnation = None;
    for round in 0..ROUNDS {
        let begin = round * EACH;
        let lines = usize::try_from(1 + round * round * 7).unwrap();
        let said = spend_and_kill(folder.path(), begin, lines);
        assert!(said.len() >= lines);
        for n in &said {
            assert!(first.insert(*n), "{n} was first twice");
        }
        let store = open(folder.path());
        assert_eq!(
            *incarnation.get_or_insert_with(|| store.incarnation().unwrap()),
            store.incarnation().unwrap()
        );
        for n in &first {
            assert_eq!(store.get(key(*n)).await.unwrap(), Some(value(*n)), "{n} was lost");
        }
        let furthest = said.iter().max().unwrap() + 2 * CALLERS;
        for n in begin..furthest {
            match store.insert(key(n), nonce(), value(n), at(60)).await.unwrap() {
                Insert::First => assert!(first.insert(n), "{n} was first twice"),
                Insert::Held(found) => assert_eq!(found, value(n)),
            }
        }
    }
}
