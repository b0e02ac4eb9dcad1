//! `hookgate explain`: what the gateway would say to a token, a link or an id, and why.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use http::{HeaderValue, Method, Uri};

use crate::app::{Ambient, explain_calls, explain_substitutes};
use crate::cli::exit::{DEFAULT_CONFIG, EX_CONFIG, EX_USAGE, complain, load, with_runtime};
use crate::clock::{Clock, SystemClock, UnixTime};
use crate::config::Config;
use crate::explain::{CallQuestion, Report};
use crate::names::ClientId;

/// More than any token, link or id.
const LONGEST_INPUT: u64 = 64 * 1024;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Judge an EHR's JWT as the gateway would, with every reason at once.
    ///
    /// Exit: 0 accepted, 1 refused or undecided, 64 wrong usage, 78 wrong configuration.
    Token {
        #[command(flatten)]
        what: What,
        /// The URL that the EHR calls.
        #[arg(long)]
        url: Uri,
        /// The method that it calls with [default: the one that the URL takes].
        #[arg(long)]
        method: Option<Method>,
        /// Ask the client's key server, once, as the gateway would.
        #[arg(long)]
        live: bool,
        /// Go by the rules of this client where the token's issuer is not known.
        #[arg(long, value_name = "ID", value_parser = client)]
        client: Option<ClientId>,
    },
    /// Say what is sealed in a link ({public_url}/open/…), and whether it has expired. Nothing is spent.
    Link {
        #[command(flatten)]
        what: What,
        #[command(flatten)]
        keys: Keys,
        /// Tell where it leads, too. That may be a credential.
        #[arg(long)]
        show_target: bool,
    },
    /// Say what an id of feedback or analytics tells about itself.
    Id {
        #[command(flatten)]
        what: What,
        #[command(flatten)]
        keys: Keys,
    },
}

#[derive(Debug, Args)]
struct What {
    /// The token, link or id itself. Others on this machine see arguments (ps): better leave it out and give it
    /// on standard input, or in a file.
    #[arg(value_name = "TEXT")]
    text: Option<String>,
    /// Read it from this file.
    #[arg(long, conflicts_with = "text")]
    file: Option<PathBuf>,
    /// The configuration file.
    #[arg(long, short, default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// When it came: 2026-11-26T08:15:00Z, or seconds since 1970 [default: now].
    #[arg(long, value_name = "TIME", value_parser = moment)]
    at: Option<UnixTime>,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Args)]
struct Keys {
    /// The key file, where it is not the configuration's.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

fn client(text: &str) -> Result<ClientId, String> {
    ClientId::new(text).map_err(|error| error.to_string())
}

fn moment(text: &str) -> Result<UnixTime, String> {
    if let Ok(secs) = text.parse() {
        return Ok(UnixTime::from_secs(secs));
    }
    let time: jiff::Timestamp =
        text.parse().map_err(|_| "write 2026-11-26T08:15:00Z, or seconds since 1970".to_owned())?;
    let secs = u64::try_from(time.as_second()).map_err(|_| "write a time after 1970".to_owned())?;
    Ok(UnixTime::from_secs(secs))
}

pub(crate) fn run(arguments: Arguments) -> ExitCode {
    let (format, report) = match arguments.command {
        Command::Token { what, url, method, live, client } => {
            (what.format, token(&what, &url, method.as_ref(), live, client.as_ref()))
        }
        Command::Link { what, keys, show_target } => (what.format, link(&what, &keys, show_target)),
        Command::Id { what, keys } => (what.format, id(&what, &keys)),
    };
    match report {
        Ok(report) => {
            let text = match format {
                Format::Text => report.to_string(),
                Format::Json => format!("{:#}\n", serde_json::json!(report)),
            };
            let _ = io::stdout().write_all(text.as_bytes());
            if report.verdict.is_accepted() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(code) => code,
    }
}

fn token(
    what: &What,
    url: &Uri,
    method: Option<&Method>,
    live: bool,
    assumed: Option<&ClientId>,
) -> Result<Report, ExitCode> {
    let config = load(&what.config)?;
    if let Some(named) = assumed
        && !config.client.iter().any(|client| client.auth.id == *named)
    {
        complain(format_args!("there is no [[client]] with the id {named}"));
        return Err(ExitCode::from(EX_USAGE));
    }
    let calls = explain_calls(&config, &Ambient::system()).map_err(|error| bad(what, &error))?;
    let authorization = authorization(&what.read()?)?;
    let question =
        CallQuestion { authorization: &authorization, method, url, at: what.time(), assumed, live };
    told(async { Ok(calls.explain(&question).await) })
}

fn link(what: &What, keys: &Keys, show_target: bool) -> Result<Report, ExitCode> {
    let config = load(&what.config)?;
    let (file, text) = (keys.find(&config)?, what.read()?);
    told(async {
        let substitutes = explain_substitutes(&config, &file, &Ambient::system()).await;
        let substitutes = substitutes.map_err(|error| bad(what, &error))?;
        Ok(substitutes.link(&text, what.time(), show_target).await)
    })
}

fn id(what: &What, keys: &Keys) -> Result<Report, ExitCode> {
    let config = load(&what.config)?;
    let (file, text) = (keys.find(&config)?, what.read()?);
    told(async {
        let substitutes = explain_substitutes(&config, &file, &Ambient::system()).await;
        let substitutes = substitutes.map_err(|error| bad(what, &error))?;
        Ok(substitutes.id(&text, what.time()).await)
    })
}

/// What the explanation says at its end.
fn told(explaining: impl Future<Output = Result<Report, ExitCode>>) -> Result<Report, ExitCode> {
    let mut report = None;
    let code = with_runtime(async {
        match explaining.await {
            Ok(told) => {
                report = Some(told);
                ExitCode::SUCCESS
            }
            Err(code) => code,
        }
    });
    report.ok_or(code)
}

fn bad(what: &What, error: &impl std::fmt::Display) -> ExitCode {
    complain(format_args!("{}:\n{error}", what.config.display()));
    ExitCode::from(EX_CONFIG)
}

impl Keys {
    fn find(&self, config: &Config) -> Result<PathBuf, ExitCode> {
        self.key_file.clone().or_else(|| config.key_file()).ok_or_else(|| {
            complain("the configuration has no key file: name one with --key-file");
            ExitCode::from(EX_CONFIG)
        })
    }
}

impl What {
    fn time(&self) -> UnixTime {
        self.at.unwrap_or_else(|| SystemClock::new().now())
    }

    /// What is to be explained, without the blanks around it.
    fn read(&self) -> Result<String, ExitCode> {
        let text = match (&self.text, &self.file) {
            (Some(text), _) if text != "-" => Ok(text.clone()),
            (_, Some(file)) => File::open(file).and_then(read_some),
            (_, None) => read_some(io::stdin()),
        };
        let text = text.map_err(|error| {
            complain(format_args!("what is to be explained cannot be read: {error}"));
            ExitCode::from(EX_USAGE)
        })?;
        let text = text.trim();
        if text.is_empty() {
            complain("there is nothing to explain: give it on standard input, or see --help");
            return Err(ExitCode::from(EX_USAGE));
        }
        Ok(text.to_owned())
    }
}

fn read_some(from: impl Read) -> io::Result<String> {
    let mut text = String::new();
    from.take(LONGEST_INPUT).read_to_string(&mut text)?;
    Ok(text)
}

/// The header's value for what was given: the token, with or without what stands before it in a request.
fn authorization(text: &str) -> Result<HeaderValue, ExitCode> {
    let value = match text.split_once(':') {
        Some((name, value)) if name.eq_ignore_ascii_case("authorization") => value.trim(),
        Some(_) | None => text,
    };
    let bare = !value.contains(' ');
    let value = if bare { format!("Bearer {value}") } else { value.to_owned() };
    HeaderValue::try_from(value).map_err(|_| {
        complain("a token is one line of visible characters: what was given has others, or several lines");
        ExitCode::from(EX_USAGE)
    })
}
