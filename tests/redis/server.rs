//! A real Redis server in a folder of its own.
//!
//! Promises that what it answered to be written survives its death, that nothing it started outlives
//! [`RedisServer`], and that a missing program fails the test.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use tempfile::TempDir;

use crate::port::free_port;

/// Looked up in `PATH`.
const SERVER: &str = "redis-server";
const CLI: &str = "redis-cli";

/// Written before it is answered, and never a snapshot beside it. What a process has written outlives its
/// death, synced or not; a server that syncs each write stalls wherever the disk is busy.
const DURABLE: [&str; 6] = ["--appendonly", "yes", "--appendfsync", "no", "--save", ""];

/// How long a server may take to start, or a fleet to settle: far more than it needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running `redis-server`, or one that was killed and can be started again.
pub(crate) struct RedisServer {
    process: Option<Child>,
    port: u16,
    options: Vec<String>,
    folder: TempDir,
}

impl RedisServer {
    /// Starts one that writes everything down before it answers.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same, with further options as on its command line: `["--maxmemory", "4mb"]`.
    pub(crate) fn start_with(options: &[&str]) -> Self {
        Self::start_in(TempDir::new().expect("a folder"), free_port(), options)
    }

    /// The same in a folder that holds files which its options name.
    pub(crate) fn start_in(folder: TempDir, port: u16, options: &[&str]) -> Self {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut server = Self { process: None, port, options, folder };
        server.restart();
        server
    }

    /// `host:port`
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ends it at once: nothing is written any more.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("a server to kill");
            process.wait().expect("its end");
        }
    }

    /// It keeps its connections, takes new ones, and answers nothing.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    /// It goes on after [`RedisServer::pause`].
    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    /// Starts it again at the same port in the same folder; it is killed first if it runs.
    pub(crate) fn restart(&mut self) {
        self.kill();
        let mut command = Command::new(SERVER);
        // A sentinel's first word is its configuration file.
        let sentinel = self.options.first().is_some_and(|option| !option.starts_with("--"));
        if sentinel {
            command.args(&self.options);
        } else {
            command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"]);
            command.args(["--dir", &self.folder.path().display().to_string()]);
            command.args(DURABLE).args(&self.options);
        }
        self.process = Some(run(command));
    }

    /// What it answers to a command, as `redis-cli` prints it. It must not be paused.
    pub(crate) fn command(&self, words: &[&str]) -> String {
        let port = self.port.to_string();
        cli(&[&["-h", "127.0.0.1", "-p", &port], words].concat())
    }

    /// Forgets everything, as an operator's mistake would.
    pub(crate) fn flush(&self) {
        assert_eq!(self.command(&["FLUSHALL", "SYNC"]), "OK");
    }

    /// How often it ran a command (`"evalsha"`) since its start.
    pub(crate) fn calls(&self, command: &str) -> u64 {
        let start = format!("cmdstat_{command}:calls=");
        self.command(&["INFO", "commandstats"])
            .lines()
            .find_map(|line| line.strip_prefix(&start)?.split(',').next()?.parse().ok())
            .unwrap_or(0)
    }

    fn signal(&self, signal: &str) {
        let process = self.process.as_ref().expect("a running server").id().to_string();
        let done = Command::new("kill").args([signal, &process]).status();
        assert!(done.expect("the program kill").success(), "kill {signal} {process}");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// What `redis-cli` prints, without the last line's end.
pub(crate) fn cli(words: &[&str]) -> String {
    let output = Command::new(CLI)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{CLI}: {error}; it comes with Redis 7.0 or later"));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// Looks again and again until `met`.
pub(crate) fn eventually(what: &str, mut met: impl FnMut() -> bool) {
    const PAUSE: Duration = Duration::from_millis(20);
    for _ in 0..PATIENCE.as_millis() / PAUSE.as_millis() {
        if met() {
            return;
        }
        std::thread::sleep(PAUSE);
    }
    panic!("it never came: {what}");
}

/// Starts a server and waits until it takes connections.
fn run(mut command: Command) -> Child {
    let mut process = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{SERVER}: {error}; install Redis 7.0 or later"));
    let lines = BufReader::new(process.stdout.take().expect("its log is piped")).lines();
    let (sender, ready) = mpsc::channel();
    // It reads on to the end, so that the server never waits for a reader.
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let mut said = Vec::new();
    while let Ok(line) = ready.recv_timeout(PATIENCE) {
        said.push(line);
        let last = said.last().map_or("", String::as_str);
        if last.contains("Ready to accept connections") || last.contains("Sentinel ID is") {
            return process;
        }
    }
    let _ = process.kill();
    let _ = process.wait();
    panic!("{SERVER} does not start:\n{}", said.join("\n"));
}
