//! What all commands share: how they end, and how they get a configuration.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::config::{Config, ConfigError};
use crate::units::Period;

// sysexits.h
pub(crate) const EX_USAGE: u8 = 64;
pub(crate) const EX_SOFTWARE: u8 = 70;
pub(crate) const EX_CANTCREAT: u8 = 73;
pub(crate) const EX_TEMPFAIL: u8 = 75;
pub(crate) const EX_CONFIG: u8 = 78;

pub(crate) const DEFAULT_CONFIG: &str = "/etc/hookgate/hookgate.toml";

pub(crate) fn complain(what: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "hookgate: {what}");
}

/// The configuration at `path`; where there is none that is good, that is said.
pub(crate) fn load(path: &Path) -> Result<Config, ExitCode> {
    Config::load(path).map_err(|error: ConfigError| {
        let _ = writeln!(io::stderr(), "{}", error.0.shown());
        ExitCode::from(EX_CONFIG)
    })
}

/// A length of time, as the configuration file has it.
pub(crate) fn period(text: &str) -> Result<Duration, String> {
    Period::try_from(text.to_owned()).map(Period::get)
}

/// How long work on a thread of its own is waited for, once everything else has ended.
const LEFTOVERS: Duration = Duration::from_secs(1);

/// Runs `work` to its end.
pub(crate) fn with_runtime(work: impl Future<Output = ExitCode>) -> ExitCode {
    match Runtime::new() {
        Ok(runtime) => {
            let code = runtime.block_on(work);
            // A file system whose server is gone can hold a reader for good. Dropped, the runtime would wait
            // for it, and the process would never end.
            runtime.shutdown_timeout(LEFTOVERS);
            code
        }
        Err(error) => {
            complain(format_args!("no runtime: {error}"));
            ExitCode::from(EX_SOFTWARE)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::mpsc::channel;
    use std::thread;

    use tokio::sync::oneshot;
    use tokio::task::spawn_blocking;

    #[test]
    fn a_thread_that_hangs_keeps_nobody() {
        let (_never, disk) = channel::<()>();
        let (end, ended) = channel();
        thread::spawn(move || {
            with_runtime(async {
                let (begin, begun) = oneshot::channel();
                spawn_blocking(move || {
                    begin.send(()).unwrap();
                    disk.recv()
                });
                begun.await.unwrap();
                ExitCode::SUCCESS
            });
            end.send(()).unwrap();
        });
        assert_eq!(ended.recv_timeout(Duration::from_secs(60)), Ok(()));
    }
}
