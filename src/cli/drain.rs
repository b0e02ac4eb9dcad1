//! `hookgate drain`: the signal that ends a serving hookgate in good order, for images without a `kill`.

use std::num::NonZeroU32;
use std::process::ExitCode;

use rustix::process::{Pid, Signal, kill_process};

use crate::cli::exit::{EX_SOFTWARE, complain};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The process that serves: 1 in a container.
    #[arg(long)]
    pid: NonZeroU32,
}

/// Sends SIGTERM and does not wait: whoever stops a container waits for it in any case.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let pid = i32::try_from(arguments.pid.get()).ok().and_then(Pid::from_raw);
    let sent = pid.map_or(Err(rustix::io::Errno::SRCH), |pid| kill_process(pid, Signal::TERM));
    match sent {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(format_args!(
                "process {} cannot be told to finish: {error}; write --pid 1 in a container, elsewhere the number \
                 of the process that serves",
                arguments.pid
            ));
            ExitCode::from(EX_SOFTWARE)
        }
    }
}
