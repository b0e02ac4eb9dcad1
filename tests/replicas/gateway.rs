//! One gateway: the program, its port, its log and its clock.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::told::Told;

/// Nothing takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);
const GLANCE: Duration = Duration::from_millis(5);

/// Below here Debian has a folder for each kind of machine.
const LIBRARIES: &str = "/usr/lib";
/// What stands between a program and its clock.
const FAKETIME: &str = "faketime/libfaketimeMT.so.1";

/// A gateway that is started, ended and started again at one port.
pub(crate) struct Gateway {
    config: PathBuf,
    /// Holds by how much its clock is off; none where its clock is the system's.
    clock: Option<PathBuf>,
    told: Arc<Told>,
    life: Option<Life>,
}

/// From one start to the next end.
struct Life {
    process: Child,
    reader: JoinHandle<()>,
}

impl Gateway {
    /// One that will run with this configuration.
    pub(crate) fn new(config: PathBuf) -> Self {
        Self { config, clock: None, told: Arc::default(), life: None }
    }

    /// From the next start on its clock is what `file` says it is.
    pub(crate) fn with_clock(mut self, file: PathBuf) -> Self {
        self.clock = Some(file);
        self.set_clock(0);
        self
    }

    /// What it said and what was done to it.
    pub(crate) fn told(&self) -> Arc<Told> {
        Arc::clone(&self.told)
    }

    /// Starts it and waits until it listens.
    pub(crate) fn start(&mut self) {
        assert!(self.life.is_none(), "it runs");
        self.told.starts();
        let mut command = hookgate(&["serve", "--config", &self.config.display().to_string()]);
        if let Some(clock) = &self.clock {
            command
                .env("LD_PRELOAD", faketime())
                .env("FAKETIME_TIMESTAMP_FILE", clock)
                .env("FAKETIME_NO_CACHE", "1")
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (out, told) = (process.stdout.take().unwrap(), self.told());
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(out).lines() {
                told.line(line.unwrap());
            }
        });
        self.life = Some(Life { process, reader });
        let mut waited = Duration::ZERO;
        while !self.told.is_serving() {
            let running = self.life.as_mut().unwrap().process.try_wait().unwrap().is_none();
            if !running || waited > PATIENCE {
                let (status, complaint) = self.end();
                panic!("it does not serve ({status}): {complaint}{:#?}", self.told.tail(20));
            }
            std::thread::sleep(GLANCE);
            waited += GLANCE;
        }
    }

    /// Ends it in the middle of whatever it does.
    pub(crate) fn kill(&mut self) {
        self.told.killed();
        self.life.as_mut().unwrap().process.kill().unwrap();
        let (_, complaint) = self.end();
        assert_eq!(complaint, "", "somebody panicked");
    }

    /// Asks it to end, and sees that it ends well.
    pub(crate) fn terminate(&mut self) {
        self.told.terminated();
        let id = self.life.as_ref().unwrap().process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let (status, complaint) = self.end();
        assert_eq!((status.code(), complaint.as_str()), (Some(0), ""), "{:#?}", self.told.tail(9));
    }

    /// Sets its clock off by so many seconds, at once and while it runs.
    pub(crate) fn set_clock(&self, seconds: i64) {
        let file = self.clock.as_ref().unwrap();
        // It is read at every look at the clock: a half-written one must not be found.
        let new = file.with_extension("new");
        std::fs::write(&new, format!("{seconds:+}")).unwrap();
        std::fs::rename(new, file).unwrap();
    }

    fn end(&mut self) -> (ExitStatus, String) {
        let mut life = self.life.take().unwrap();
        let id = life.process.id();
        let mut complaint = String::new();
        life.process.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
        let status = life.process.wait().unwrap();
        life.reader.join().unwrap();
        sweep(id);
        (status, complaint)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(mut life) = self.life.take() {
            let _ = life.process.kill();
            let _ = life.process.wait();
            sweep(life.process.id());
        }
        if !std::thread::panicking() {
            let leaked = self.told.leaked();
            assert!(leaked.is_empty(), "told and secret: {leaked:?}");
        }
    }
}

fn faketime() -> PathBuf {
    let folders = std::fs::read_dir(LIBRARIES).unwrap();
    let mut found = folders.map(|folder| folder.unwrap().path().join(FAKETIME));
    found.find(|library| library.exists()).unwrap_or_else(|| {
        panic!("no {LIBRARIES}/*/{FAKETIME}: install what Debian calls faketime")
    })
}

/// Takes away what libfaketime leaves in shared memory of a process that was killed.
fn sweep(process: u32) {
    for name in ["faketime_shm_", "sem.faketime_sem_"] {
        let _ = std::fs::remove_file(format!("/dev/shm/{name}{process}"));
    }
}

/// The program, with nothing of this environment's configuration.
pub(crate) fn hookgate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hookgate"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HOOKGATE") {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null());
    command
}
