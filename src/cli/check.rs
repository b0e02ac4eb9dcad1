//! `hookgate check`: what is wrong with a configuration, for a person or for a pipeline.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;

use crate::app::{Ambient, App};
use crate::cli::exit::{DEFAULT_CONFIG, EX_CONFIG};
use crate::config::Config;
use crate::config::report::Report;
use crate::problem::Severity;

/// What to check, and how to say it.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The configuration file.
    #[arg(long, short, default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// How problems are told: as text on standard error, or as one JSON object on standard output.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Exit 78 for warnings, too.
    #[arg(long)]
    deny_warnings: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Reads the file and the environment and looks at everything that they name.
pub(crate) fn examine(path: &Path) -> (Option<Config>, Report) {
    let mut examined = match Config::examine(path) {
        Ok(examined) => examined,
        Err(report) => return (None, report),
    };
    let found = examined.config().map(|config| App::check(config, &Ambient::system()));
    examined.note(found.unwrap_or_default());
    examined.conclude()
}

/// Tells every problem on standard error, and how many there are.
pub(crate) fn tell(report: &Report) {
    let _ = writeln!(io::stderr(), "{}\n\n{}", report.shown(), counted(report));
}

fn counted(report: &Report) -> String {
    let count = |severity: Severity| {
        let number = report.count(severity);
        (number > 0)
            .then(|| format!("{number} {}{}", severity.word(), if number == 1 { "" } else { "s" }))
    };
    let counts: Vec<_> =
        [Severity::Error, Severity::Warning].into_iter().filter_map(count).collect();
    format!("{}: {}", report.file(), counts.join(", "))
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let (_, report) = examine(&arguments.config);
    let warned = arguments.deny_warnings && report.count(Severity::Warning) > 0;
    match arguments.format {
        Format::Json => {
            let _ = writeln!(io::stdout(), "{:#}", report.to_json());
        }
        Format::Text => {
            if !report.problems().is_empty() {
                tell(&report);
            }
            if report.is_good() {
                let _ = writeln!(io::stdout(), "{}: good", report.file());
            }
        }
    }
    if report.is_good() && !warned { ExitCode::SUCCESS } else { ExitCode::from(EX_CONFIG) }
}
