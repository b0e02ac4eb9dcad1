//! The program's commands.

mod exit;
mod check;
mod drain;
mod explain;
mod healthcheck;
mod keys;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, reload};

use crate::app::{Ambient, App, Sockets, Source};
use crate::cli::check::{examine, tell};
use crate::cli::exit::{DEFAULT_CONFIG, EX_CONFIG, EX_SOFTWARE, EX_USAGE, complain, with_runtime};
use crate::config::Config;
use crate::config::log::{Level, Log, LogFormat};
use crate::demo;
use crate::files::{Prints, named};

/// A security gateway in front of CDS Hooks services.
#[derive(Debug, Parser)]
#[command(name = "hookgate", version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT, then finish what was accepted and exit.
    Serve {
        /// The configuration file.
        #[arg(long, short, default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
    /// Say what is wrong with a configuration, or nothing. Binds no port and writes no file.
    Check(check::Arguments),
    /// Print the JSON Schema of the configuration file, for editors.
    Schema,
    /// Tell a serving hookgate to finish what was accepted and exit, as SIGTERM does: for a preStop hook.
    Drain(drain::Arguments),
    /// Look at the keys that seal links and ids and sign, and rotate them while the gateway serves.
    Keys(keys::Arguments),
    /// Say what the gateway would do with a token, a link or an id, step by step, and what to change.
    Explain(explain::Arguments),
    /// Ask a gateway that serves whether it is ready: exit 0 or 1, and what is missing. For images without a
    /// shell: HEALTHCHECK CMD ["/hookgate", "healthcheck"].
    Healthcheck(healthcheck::Arguments),
    /// Show the whole story in one process: sample EHR, gateway, legacy service.
    Demo {
        /// Play the story and exit: 0 if everything came as promised, 1 if not.
        #[arg(long)]
        once: bool,
        /// The port of the demo's public URL; another free one where it is taken.
        #[arg(long, default_value_t = 8443)]
        port: u16,
    },
}

/// Runs the program with these arguments.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EX_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    // jsonwebtoken panics at its first use where no provider is chosen. A second choice is refused and harmless.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    match cli.command {
        Command::Serve { config } => serve(&config),
        Command::Check(arguments) => check::run(&arguments),
        Command::Schema => {
            let _ = writeln!(io::stdout(), "{:#}", Config::schema());
            ExitCode::SUCCESS
        }
        Command::Drain(arguments) => drain::run(&arguments),
        Command::Keys(arguments) => keys::run(arguments),
        Command::Explain(arguments) => explain::run(arguments),
        Command::Healthcheck(arguments) => healthcheck::run(&arguments),
        Command::Demo { once, port } => run_demo(once, port),
    }
}

fn serve(path: &std::path::Path) -> ExitCode {
    // Each file is looked at before it is read: what is written meanwhile is found to be new.
    let own = Prints::of([path.to_owned()]);
    // What a person can mend in the file is told in one go, before anything outside is touched.
    let (config, report) = examine(path);
    let Some(config) = config else {
        tell(&report);
        return ExitCode::from(EX_CONFIG);
    };
    let seen = own.or(Prints::of(named(&config)));
    let log = install_log(&config.log);
    for warning in report.problems() {
        let problem = &warning.problem;
        tracing::warn!(code = problem.code.word(), path = %problem.path, "configuration: {warning}");
    }
    let sockets = match Sockets::handed_over() {
        Ok(sockets) => sockets,
        Err(error) => {
            complain(error);
            return ExitCode::from(EX_SOFTWARE);
        }
    };
    with_runtime(async {
        // Before anything takes its time: a hangup that nobody awaits ends the process.
        let (asked, shutdown) = match on_hangup().and_then(|asked| Ok((asked, on_signal()?))) {
            Ok(signals) => signals,
            Err(error) => {
                complain(format_args!("signals cannot be handled: {error}"));
                return ExitCode::from(EX_SOFTWARE);
            }
        };
        let app = match App::bind_with(config, Ambient::system(), sockets).await {
            Ok(app) => app,
            Err(error) => {
                complain(&error);
                return ExitCode::from(if error.is_configuration() {
                    EX_CONFIG
                } else {
                    EX_SOFTWARE
                });
            }
        };
        let source = Source { file: path.to_owned(), seen, asked, log };
        let _drained = app.serve_from(source, shutdown).await;
        ExitCode::SUCCESS
    })
}

fn run_demo(once: bool, port: u16) -> ExitCode {
    let _unchanged = install_log(&Log { level: Level::only_errors(), format: LogFormat::Text });
    with_runtime(async {
        let shutdown = match on_signal() {
            Ok(shutdown) => shutdown,
            Err(error) => {
                complain(format_args!("signals cannot be handled: {error}"));
                return ExitCode::from(EX_SOFTWARE);
            }
        };
        match demo::run(once, port, shutdown).await {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) if error.is_reader_gone() => ExitCode::SUCCESS,
            Err(error) => {
                complain(format_args!("the demo broke off: {error}"));
                ExitCode::FAILURE
            }
        }
    })
}

/// Gives what changes the level later. The format stays.
fn install_log(log: &Log) -> Box<dyn Fn(&Log) + Send + Sync> {
    let (filter, handle) = reload::Layer::new(log.level.filter());
    let lines = fmt::layer().with_ansi(false);
    let lines = match log.format {
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
        LogFormat::Text => lines.with_writer(io::stderr).boxed(),
    };
    // A second subscriber in one process is refused; the first then serves both.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    Box::new(move |log| {
        // Nobody has a subscriber that is gone, or another one: then there is nothing to change.
        let _ = handle.reload(log.level.filter());
    })
}

/// A message for each SIGHUP.
fn on_hangup() -> io::Result<mpsc::Receiver<()>> {
    let mut hangups = signal(SignalKind::hangup())?;
    // One that waits stands for all that come meanwhile.
    let (ask, asked) = mpsc::channel(1);
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            let _ = ask.try_send(());
        }
    });
    Ok(asked)
}

/// Cancelled by SIGTERM or SIGINT.
fn on_signal() -> io::Result<CancellationToken> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let token = CancellationToken::new();
    let cancel = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        cancel.cancel();
    });
    Ok(token)
}
