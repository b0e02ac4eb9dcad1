//! `hookgate healthcheck`: asks a gateway that serves whether it is ready, for images and pods without a
//! shell.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::header::{CONNECTION, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;

use crate::cli::exit::{DEFAULT_CONFIG, complain, period, with_runtime};
use crate::config::Config;
use crate::health;

/// What `/readyz` says is a list of names.
const LONGEST_ANSWER: usize = 256 * 1024;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The configuration file; only `health.address` is read, and HOOKGATE__HEALTH__ADDRESS counts.
    #[arg(long, short, default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// Ask here, whatever the configuration says.
    #[arg(long, value_name = "IP:PORT")]
    address: Option<SocketAddr>,
    /// Ask only whether the process answers (/livez), not whether it is ready for calls (/readyz).
    #[arg(long)]
    live: bool,
    /// How long the answer may take.
    #[arg(long, value_name = "PERIOD", value_parser = period, default_value = "2s")]
    timeout: Duration,
}

/// What `/readyz` says.
#[derive(Debug, Deserialize)]
struct Said {
    #[serde(default)]
    pending: Vec<String>,
    #[serde(default)]
    degraded: Vec<String>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    #[error("it does not listen: {0}")]
    Connect(io::Error),
    #[error("its answer is no HTTP or broke off: {0}")]
    Http(#[from] hyper::Error),
    #[error("its answer cannot be read")]
    Body,
    #[error("no answer within the timeout")]
    Late,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let address = connectable(arguments.address.unwrap_or_else(|| configured(&arguments.config)));
    let path = if arguments.live { "/livez" } else { "/readyz" };
    with_runtime(async {
        let asked = tokio::time::timeout(arguments.timeout, ask(address, path)).await;
        match asked.unwrap_or(Err(NoAnswer::Late)) {
            Ok((status, body)) => {
                let _ = io::stdout().write_all(sentence(status, &body).as_bytes());
                if status.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
            }
            Err(error) => {
                complain(format_args!("http://{address}{path}: {error}"));
                ExitCode::FAILURE
            }
        }
    })
}

/// The configured address. A probe must not fail because somebody is at work on the file: a gateway that
/// serves goes on with what it has read.
fn configured(file: &std::path::Path) -> SocketAddr {
    Config::load_health(file)
        .unwrap_or_else(|error| {
            let default = health::Settings::default();
            complain(format_args!("{}: {error}; asking {}", file.display(), default.address));
            default
        })
        .address
}

/// Where a listener on all addresses can be reached from the machine itself.
const fn connectable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, address.port())
}

async fn ask(address: SocketAddr, path: &str) -> Result<(StatusCode, Bytes), NoAnswer> {
    let stream = TcpStream::connect(address).await.map_err(NoAnswer::Connect)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let request = Request::get(path)
            .header(HOST, address.to_string())
            .header(CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .map_err(|_| NoAnswer::Body)?;
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, LONGEST_ANSWER).collect().await;
        Ok((head.status, body.map_err(|_| NoAnswer::Body)?.to_bytes()))
    };
    tokio::pin!(connection);
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        // The connection may end before its answer has been read to the end.
        ended = &mut connection => {
            ended?;
            exchange.await
        }
    }
}

fn sentence(status: StatusCode, body: &[u8]) -> String {
    let Ok(said) = serde_json::from_slice::<Said>(body) else {
        return if status.is_success() {
            "live\n".to_owned()
        } else {
            format!("answers {status}; is this hookgate's health listener?\n")
        };
    };
    let mut text = String::from(if status.is_success() { "ready\n" } else { "not ready\n" });
    for (word, names) in [("pending", said.pending), ("degraded", said.degraded)] {
        for name in names {
            let _ = writeln!(text, "{word}: {name}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_all_addresses_is_asked_on_the_loopback() {
        for (bound, asked) in [
            ("0.0.0.0:9090", "127.0.0.1:9090"),
            ("[::]:9090", "[::1]:9090"),
            ("10.0.0.5:1", "10.0.0.5:1"),
        ] {
            assert_eq!(connectable(bound.parse().unwrap()), asked.parse().unwrap(), "{bound}");
        }
    }

    #[test]
    fn says_what_is_missing_line_by_line() {
        let body = br#"{"ready":false,"pending":["keys: a","store: down"],"degraded":["x"]}"#;
        assert_eq!(
            sentence(StatusCode::SERVICE_UNAVAILABLE, body),
            "not ready\npending: keys: a\npending: store: down\ndegraded: x\n"
        );
        assert_eq!(sentence(StatusCode::OK, br#"{"ready":true,"pending":[]}"#), "ready\n");
        assert_eq!(sentence(StatusCode::OK, b"live\n"), "live\n");
        assert!(sentence(StatusCode::NOT_FOUND, b"<html>").contains("404"));
    }
}
