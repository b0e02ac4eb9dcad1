//! `[traces]`

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::outbound::roots::RootsError;
use crate::problem::{Code, KeyPath, Problem};

/// Spans to a collector, by OTLP over HTTP (protobuf).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where the collector takes spans, as `"http://127.0.0.1:4318/v1/traces"`. Left out, nothing is recorded.
    pub endpoint: Option<Url>,
    /// Which part of the traces that begin here is recorded, from 0 to 1. One that comes with a `traceparent` is
    /// recorded where that says so, and not otherwise.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub sample: f64,
    /// `service.name` of the spans.
    pub service_name: String,
    /// Further attributes of the resource, as `{ "deployment.environment.name" = "test" }`.
    pub attributes: BTreeMap<String, String>,
    /// A file with header fields for the collector, one `name: value` on each line: its key, for instance. Read anew
    /// for each export, so that a rotated one is taken up.
    pub headers_file: Option<PathBuf>,
    /// Who vouches for the collector's certificate, PEM. Left out, the system's roots.
    pub ca_file: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            endpoint: None,
            sample: 1.0,
            service_name: "hookgate".to_owned(),
            attributes: BTreeMap::new(),
            headers_file: None,
            ca_file: None,
        }
    }
}

/// Why no span can be sent.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The endpoint cannot be called.
    #[error("traces.endpoint is no http or https URL; write \"http://127.0.0.1:4318/v1/traces\"")]
    Endpoint,
    /// A part is no part.
    #[error("traces.sample is {0}; write a number from 0 to 1")]
    Sample(f64),
    /// A secret would be readable on the way.
    #[error("traces.headers_file would be sent in the clear; write an https endpoint")]
    InTheClear,
    /// The file with header fields.
    #[error("traces.headers_file {path} {why}")]
    Headers {
        /// Which file.
        path: String,
        /// What is wrong with it.
        why: String,
        /// What kind of problem it is.
        code: Code,
    },
    /// Nobody is trusted.
    #[error("traces.ca_file {0}")]
    Roots(#[from] RootsError),
    /// TLS.
    #[error("traces.endpoint cannot be called by TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// No randomness.
    #[error("traces: {0}")]
    System(String),
}

impl From<TracesError> for Problem {
    fn from(error: TracesError) -> Self {
        let code = match error {
            TracesError::Endpoint => Code::BadValue,
            TracesError::Sample(_) => Code::OutOfRange,
            TracesError::InTheClear => Code::Weak,
            TracesError::Headers { code, .. } => code,
            TracesError::Roots(_) => Code::FileContent,
            TracesError::Tls(_) => Code::BadValue,
            TracesError::System(why) => return Self::error(Code::Outside, KeyPath::default(), why),
        };
        Self::said(code, error.to_string())
    }
}

impl Settings {
    /// Says what is wrong with the settings by themselves.
    pub(crate) fn check(&self) -> Result<(), TracesError> {
        if !(0.0..=1.0).contains(&self.sample) {
            return Err(TracesError::Sample(self.sample));
        }
        let Some(endpoint) = &self.endpoint else { return Ok(()) };
        match endpoint.scheme() {
            "https" => Ok(()),
            "http" if self.headers_file.is_none() || is_here(endpoint) => Ok(()),
            "http" => Err(TracesError::InTheClear),
            _ => Err(TracesError::Endpoint),
        }
    }
}

fn is_here(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_sent_in_the_clear() {
        let headers_file = Some(PathBuf::from("headers"));
        let with = |url: &str| {
            let endpoint = Some(Url::parse(url).unwrap());
            Settings { endpoint, headers_file: headers_file.clone(), ..Settings::default() }.check()
        };
        for fine in ["http://127.0.0.1:4318/v1/traces", "http://[::1]/", "https://otel.example/"] {
            assert!(with(fine).is_ok(), "{fine}");
        }
        assert!(matches!(with("http://otel.example/"), Err(TracesError::InTheClear)));
        assert!(matches!(with("ftp://otel.example/"), Err(TracesError::Endpoint)));
        for sample in [-0.1, 1.1, f64::NAN] {
            let settings = Settings { sample, ..Settings::default() };
            assert!(matches!(settings.check(), Err(TracesError::Sample(_))), "{sample}");
        }
    }
}
