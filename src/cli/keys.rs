//! `hookgate keys`: looks at a key file and changes it, one step of a rotation at a time.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use crate::app::longest_life;
use crate::cli::exit::{
    DEFAULT_CONFIG, EX_CANTCREAT, EX_CONFIG, EX_TEMPFAIL, EX_USAGE, complain, load, period,
};
use crate::clock::{SystemClock, UnixTime};
use crate::entropy::SystemEntropy;
use crate::keyring::{
    DEFAULT_LONGEST_LIFE, KeyFileWriter, KeyRow, Keyring, KeyringError, Life, PROPAGATION,
    RotationError, SigningAlgorithm, Step, Wanted,
};
use crate::units::Period;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say which keys there are, since when, and what replicas compare. Shows no secret.
    List {
        #[command(flatten)]
        place: Place,
        /// For people, or for programs.
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// Add the next sealing and signing key. Nothing is sealed or signed with them yet.
    New {
        #[command(flatten)]
        change: Change,
        #[command(flatten)]
        kind: Kind,
        /// What the signing key signs with: ES256 or EdDSA.
        #[arg(long, default_value = "ES256")]
        alg: SigningAlgorithm,
        #[command(flatten)]
        life: LifeArguments,
        /// Make the file, with keys that are in use at once: for a secret that is there before the first start.
        #[arg(long, conflicts_with_all = ["sealing_only", "signing_only"])]
        first: bool,
    },
    /// Make the next keys current, and the current ones previous.
    Rotate {
        #[command(flatten)]
        change: Change,
        /// How old the next keys must be: the time that the file takes to reach every replica, and the key
        /// set to reach every verifier.
        #[arg(long, value_parser = period, default_value = "10m", conflicts_with = "now")]
        after: Duration,
        /// Do not wait, because a key has leaked. Until they have the file, replicas refuse what others seal,
        /// and verifiers what they sign.
        #[arg(long)]
        now: bool,
    },
    /// Drop the previous keys of whose work nothing can be alive.
    Retire {
        #[command(flatten)]
        change: Change,
        /// Drop this key, which has leaked, although what it made may be alive: all of that is refused at once.
        #[arg(long, value_name = "KID")]
        force: Option<String>,
    },
}

/// Which key file.
#[derive(Debug, Args)]
struct Place {
    /// The key file.
    #[arg(long, short)]
    file: Option<PathBuf>,
    /// The configuration that says where the key file is.
    #[arg(long, short, default_value = DEFAULT_CONFIG, conflicts_with = "file")]
    config: PathBuf,
}

/// Which key file, and where the changed one goes.
#[derive(Debug, Args)]
struct Change {
    #[command(flatten)]
    place: Place,
    /// Leave the file as it is and make this one: for a mounted secret. It must not be there yet.
    #[arg(long, short)]
    output: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct LifeArguments {
    /// How long what the sealing key seals may live, "744h" for instance; it can only be retired that long
    /// after it was superseded. Left out: the longest of 31 days, what the current key is for, and the
    /// longest lifetime that is configured.
    #[arg(long, value_parser = period)]
    longest_life: Option<Duration>,
    /// Let --longest-life be less than the current key is for: no gateway is configured for longer than that.
    #[arg(long, requires = "longest_life", conflicts_with = "first")]
    shorter: bool,
}

impl LifeArguments {
    fn wanted(&self) -> Life {
        match self.longest_life {
            None => Life::AtLeast(DEFAULT_LONGEST_LIFE),
            Some(life) if self.shorter => Life::EvenShorter(life),
            Some(life) => Life::Exactly(life),
        }
    }
}

#[derive(Debug, Args)]
struct Kind {
    /// Only a sealing key.
    #[arg(long, conflicts_with = "signing_only")]
    sealing_only: bool,
    /// Only a signing key.
    #[arg(long)]
    signing_only: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

/// A key file, and how long the configuration has things live, where there is one.
struct Found {
    file: PathBuf,
    lives: Duration,
}

impl Place {
    fn find(self) -> Result<Found, ExitCode> {
        if let Some(file) = self.file {
            return Ok(Found { file, lives: Duration::ZERO });
        }
        let config = load(&self.config)?;
        let Some(file) = config.key_file() else {
            complain(
                "the configuration has no key file: its keys are in memory only (state.backend)",
            );
            return Err(ExitCode::from(EX_CONFIG));
        };
        Ok(Found { file, lives: longest_life(&config) })
    }
}

impl Change {
    fn writer(self) -> Result<(KeyFileWriter, Duration), ExitCode> {
        let Found { file, lives } = self.place.find()?;
        let writer = KeyFileWriter {
            file,
            output: self.output,
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(SystemEntropy::default()),
        };
        Ok((writer, lives))
    }
}

pub(crate) fn run(arguments: Arguments) -> ExitCode {
    let done = match arguments.command {
        Command::List { place, format } => list(place, format),
        Command::New { change, kind, alg, life, first } => new(change, &kind, alg, &life, first),
        Command::Rotate { change, after, now } => {
            rotate(change, if now { None } else { Some(after) })
        }
        Command::Retire { change, force } => retire(change, force.as_deref()),
    };
    match done {
        Ok(text) => {
            let _ = io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(code) => code,
    }
}

fn list(place: Place, format: Format) -> Result<String, ExitCode> {
    let ring = Keyring::load(&place.find()?.file).map_err(|error| refused(&error.into()))?;
    Ok(match format {
        Format::Table => table(&ring),
        Format::Json => format!("{:#}\n", document(&ring)),
    })
}

fn new(
    change: Change,
    kind: &Kind,
    algorithm: SigningAlgorithm,
    life: &LifeArguments,
    first: bool,
) -> Result<String, ExitCode> {
    let (writer, lives) = change.writer()?;
    if first {
        let life = life.longest_life.unwrap_or_else(|| lives.max(DEFAULT_LONGEST_LIFE));
        if life < lives {
            complain(format_args!(
                "--longest-life is less than the longest lifetime that is configured, {}",
                Period::secs(lives.as_secs())
            ));
            return Err(ExitCode::from(EX_USAGE));
        }
        let step = writer.begin(algorithm, life).map_err(|error| refused(&error))?;
        return Ok(told("made, in use", &step, &writer));
    }
    let wanted = Wanted {
        sealing: (!kind.signing_only).then(|| life.wanted()),
        signing: (!kind.sealing_only).then_some(algorithm),
    };
    let step = writer.add(&wanted, lives).map_err(|error| refused(&error))?;
    let mut text = told("added as next", &step, &writer);
    let _ = writeln!(
        text,
        "When every replica holds them (the metric hookgate_keyring_fingerprint), and not before {}: hookgate keys rotate",
        ready(&step)
    );
    Ok(text)
}

/// When the keys of a step may become current, unless the operator says otherwise.
fn ready(step: &Step) -> String {
    let latest = step.changed.iter().map(|row| row.course.created.plus(PROPAGATION)).max();
    latest.map_or_else(String::new, |time| time.to_string())
}

fn rotate(change: Change, after: Option<Duration>) -> Result<String, ExitCode> {
    let (writer, _) = change.writer()?;
    let step = writer.rotate(after.unwrap_or_default()).map_err(|error| refused(&error))?;
    if after.is_none() {
        complain(
            "without the wait: until every replica has this file, one refuses what another seals; until \
             verifiers fetch the key set anew (5 minutes), they refuse what the gateway signs",
        );
    }
    Ok(told("changed", &step, &writer))
}

fn retire(change: Change, force: Option<&str>) -> Result<String, ExitCode> {
    let (writer, _) = change.writer()?;
    let Some(kid) = force else {
        let step = writer.retire().map_err(|error| refused(&error))?;
        return Ok(told("dropped", &step, &writer));
    };
    let step = writer.force_out(kid).map_err(|error| refused(&error))?;
    complain("by force: everything that this key made is refused as soon as the file is taken up");
    Ok(told("dropped", &step, &writer))
}

/// What was done, a line for each key, and where.
fn told(what: &str, step: &Step, writer: &KeyFileWriter) -> String {
    let mut text = step.told(what);
    let _ = match &writer.output {
        Some(output) => writeln!(
            text,
            "{} is to be applied in place of {}.",
            output.display(),
            writer.file.display()
        ),
        None => writeln!(
            text,
            "{} is written; gateways take it up within seconds.",
            writer.file.display()
        ),
    };
    text
}

fn refused(error: &RotationError) -> ExitCode {
    complain(error);
    match error {
        RotationError::File(KeyringError::Write { .. })
        | RotationError::Exists { .. }
        | RotationError::Mounted { .. } => ExitCode::from(EX_CANTCREAT),
        RotationError::File(_) => ExitCode::from(EX_CONFIG),
        RotationError::Busy { .. } => ExitCode::from(EX_TEMPFAIL),
        RotationError::NextExists { .. }
        | RotationError::NoFreeKid
        | RotationError::NoNext
        | RotationError::Shorter { .. }
        | RotationError::TooYoung { .. }
        | RotationError::NoPrevious
        | RotationError::Needed(_)
        | RotationError::NoSuchKey { .. }
        | RotationError::InUse { .. } => ExitCode::FAILURE,
    }
}

fn times(row: &KeyRow) -> [Option<UnixTime>; 4] {
    let course = &row.course;
    [Some(course.created), course.current_since, course.superseded, course.retirable_from()]
}

const TIMES: [&str; 4] = ["created", "current since", "superseded", "may be retired from"];

fn table(ring: &Keyring) -> String {
    let rows = ring.rows();
    let width = rows.iter().map(|row| row.kid.len()).max().unwrap_or_default();
    let mut text = format!("{:4}  {:width$}  {:8}", "kind", "kid", "state");
    for name in TIMES {
        let _ = write!(text, "  {name:20}");
    }
    for row in &rows {
        let (kind, state) = (row.r#use.word(), row.course.state.word());
        let line = times(row).map(|time| time.map_or_else(|| "-".to_owned(), |t| t.to_string()));
        let _ = write!(text, "\n{kind:4}  {:width$}  {state:8}", row.kid);
        for time in line {
            let _ = write!(text, "  {time:20}");
        }
    }
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let fingerprint = ring.fingerprint();
    format!(
        "{}\nfingerprint: current {}, held {}\n",
        lines.join("\n"),
        fingerprint.current(),
        fingerprint.held()
    )
}

fn document(ring: &Keyring) -> serde_json::Value {
    let keys: Vec<_> = ring
        .rows()
        .iter()
        .map(|row| {
            let [created, current_since, superseded, retirable_from] =
                times(row).map(|time| time.map(|time| time.to_string()));
            json!({
                "kind": row.r#use.word(),
                "kid": row.kid,
                "state": row.course.state.word(),
                "created": created,
                "current_since": current_since,
                "superseded": superseded,
                "retirable_from": retirable_from,
                "longest_life_seconds": row.course.longest_life.as_secs(),
            })
        })
        .collect();
    let fingerprint = ring.fingerprint();
    json!({
        "keys": keys,
        "fingerprint": { "current": fingerprint.current(), "held": fingerprint.held() },
    })
}
