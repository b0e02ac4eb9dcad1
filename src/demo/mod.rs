//! The whole story in one process, over real sockets, with nothing to prepare.

pub mod server;
pub mod service;
pub mod ehr;
pub mod client;
pub mod stage;
pub mod story;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
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
    let stop = CancellationToken::new();
    let serving = tokio::spawn(app.serve(stop.clone()));

    let client = Client::trusting(certificate.cert.der().clone())?;
    let cast = Cast {
        gateway: &public_url,
        ehr: &ehr,
        service: &service,
        client: &client,
        clock: ambient.clock.as_ref(),
        entropy: ambient.entropy.as_ref(),
    };
    let mut stage = Stage::stdout();
    stage.raw("hookgate demo: a sample EHR, hookgate, and a small legacy CDS service that asks nobody who is calling.")?;
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

/// The port that was asked for, or another free one.
fn free_address(port: u16) -> io::Result<SocketAddr> {
    let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    probe.local_addr()
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
    text.lines().map(|line| format!("    {line}\n")).collect()
}
