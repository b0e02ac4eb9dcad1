//! The whole story in one process, over real sockets, with nothing to prepare.

pub mod server;
pub mod service;
pub mod ehr;
pub mod client;
pub mod stage;
pub mod story;

use std::io;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;

use tokio_util::sync::CancellationToken;

use crate::app::{Ambient, App, StartError};
use crate::config::{Config, ConfigError};
use crate::demo::client::{Client, ClientError};
use crate::demo::ehr::{EhrError, SampleEhr};
use crate::demo::service::LegacyService;
use crate::demo::stage::Stage;
use crate::demo::story::{Cast, StoryError};

/// Why the demo broke off.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// No file or port could be had.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// No certificate could be made.
    #[error("no certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The embedded configuration was refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The gateway did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The sample EHR did not start.
    #[error(transparent)]
    Ehr(#[from] EhrError),
    /// The demo's client could not be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The story could not go on.
    #[error(transparent)]
    Story(#[from] StoryError),
}

impl DemoError {
    /// Whether the reader of the story has gone (`demo | head`), which is nobody's fault.
    pub fn is_reader_gone(&self) -> bool {
        match self {
            Self::Io(error) | Self::Story(StoryError::Out(error)) => {
                error.kind() == ErrorKind::BrokenPipe
            }
            Self::Certificate(_)
            | Self::Config(_)
            | Self::Start(_)
            | Self::Ehr(_)
            | Self::Client(_)
            | Self::Story(
                StoryError::Client(_)
                | StoryError::Ehr(_)
                | StoryError::Entropy(_)
                | StoryError::Json(_),
            ) => false,
        }
    }
}

/// Plays the story; whether everything came as promised. Unless `once`, stays up until `shutdown`.
///
/// # Errors
/// [`DemoError`]
pub async fn run(once: bool, port: u16, shutdown: CancellationToken) -> Result<bool, DemoError> {
    let ambient = Ambient::system();
    let directory = tempfile::tempdir()?;
    let certificate =
        rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    std::fs::write(directory.path().join("tls.crt"), certificate.cert.pem())?;
    std::fs::write(directory.path().join("tls.key"), certificate.signing_key.serialize_pem())?;

    let service = LegacyService::start().await?;
    let ehr = SampleEhr::start(ambient.clock.clone(), ambient.entropy.clone()).await?;
    let address = free_address(port)?;
    let public_url = format!("https://localhost:{}", address.port());
    let text = configuration(&public_url, address, directory.path(), &ehr, &service);
    let app = App::bind(Config::from_toml(&text)?, ambient.clone()).await?;
    let status_page =
        app.admin_addr().map_or_else(String::new, |address| format!("http://{address}/"));
    let stop = CancellationToken::new();
    let serving = tokio::spawn(app.serve(stop.clone()));

    let client = Client::trusting(certificate.cert.der().clone())?;
    let cast = Cast {
        gateway: &public_url,
        status_page: &status_page,
        ehr: &ehr,
        service: &service,
        client: &client,
        clock: ambient.clock.as_ref(),
        entropy: ambient.entropy.as_ref(),
    };
    let mut stage = Stage::stdout();
    stage.raw("hookgate demo: a sample EHR, hookgate, and a small legacy CDS service that asks nobody who is calling.")?;
    if port != 0 && address.port() != port {
        stage.raw(&format!("\nPort {port} is taken; this one uses {}.", address.port()))?;
    }
    stage.raw(&format!("\nThe gateway's whole configuration:\n\n{}", indent(&text)))?;
    cast.play(&mut stage).await?;
    let good = stage.failures() == 0;
    stage.raw(if good {
        "\nEverything came as promised."
    } else {
        "\nNot everything came as promised."
    })?;
    if !once {
        stage.raw(&cast.lines_to_copy().await?)?;
        shutdown.cancelled().await;
    }
    stop.cancel();
    // A task that panicked has nothing more to say here; the story was told.
    let _ = serving.await;
    Ok(good)
}

/// The port that was asked for, or another free one. Browsers take `localhost` for `::1` first: a port is
/// free only where nobody listens there either.
fn free_address(port: u16) -> io::Result<SocketAddr> {
    let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .and_then(
            |probe| if taken_on_ipv6(port) { Err(ErrorKind::AddrInUse.into()) } else { Ok(probe) },
        )
        .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    probe.local_addr()
}

/// Whether somebody listens on `::1`. Where there is no IPv6, nobody does.
fn taken_on_ipv6(port: u16) -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, port))
        .is_err_and(|error| error.kind() == ErrorKind::AddrInUse)
}

fn configuration(
    public_url: &str,
    address: SocketAddr,
    directory: &Path,
    ehr: &SampleEhr,
    service: &LegacyService,
) -> String {
    format!(
        r#"public_url = "{public_url}"

[listener]
address = "{address}"
certificate_file = "{directory}/tls.crt"
key_file = "{directory}/tls.key"
ready_grace = "0s"

[health]
address = "127.0.0.1:0"

[admin]
address = "127.0.0.1:0"

[state]
backend = "memory"

[[client]]
id = "sample-ehr"
issuer = "{issuer}"
jwks_url = "{jwks_url}"
allow_private_key_server = true      # the sample EHR is on this machine
limit.client = {{ per_second = 5, burst = 20 }}

[[upstream]]
id = "legacy"
url = "{service}"
"#,
        directory = directory.display(),
        issuer = ehr.issuer(),
        jwks_url = ehr.jwks_url(),
        service = service.url(),
    )
}

fn indent(text: &str) -> String {
    let indented = |line: &str| {
        if line.is_empty() { "\n".to_owned() } else { format!("    {line}\n") }
    };
    text.lines().map(indented).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_left_alone() {
        for host in ["127.0.0.1", "[::1]"] {
            let holder = TcpListener::bind(format!("{host}:0")).unwrap();
            let taken = holder.local_addr().unwrap().port();
            assert_ne!(free_address(taken).unwrap().port(), taken, "{host}");
            drop(holder);
            assert_eq!(free_address(taken).unwrap().port(), taken, "{host}");
        }
    }

    #[test]
    fn what_is_shown_has_no_space_at_a_line_end() {
        assert_eq!(indent("a\n\nb"), "    a\n\n    b\n");
    }
}
