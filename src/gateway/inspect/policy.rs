//! How strictly a client is held to its registered FHIR servers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::gateway::inspect::bases::FhirBase;

/// What a check does with what it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The request is refused.
    Enforce,
    /// The request passes; log and metric say what would have been refused.
    Observe,
    /// Nothing is looked at.
    Off,
}

/// One client's settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The base URLs of this client's FHIR servers. `fhirServer`, and each absolute
    /// `Bundle.link.url` in the prefetch, must lie under one of them: the service will call what the
    /// request names, with the request's bearer token. Empty: requests may name any server.
    pub fhir_servers: Vec<FhirBase>,
    /// `"enforce"`, `"observe"` or `"off"`. Left out, it is `"enforce"` where `fhir_servers` names
    /// servers and `"off"` where it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fhir_server_check: Option<Mode>,
}

/// Settings that cannot be meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A check was asked for, and there is nothing to check against.
    #[error("fhir_server_check needs fhir_servers; name the client's FHIR base URLs")]
    NoServers,
}

/// What [`inspect`](crate::gateway::inspect::request::inspect) holds a request to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    mode: Mode,
    bases: Vec<FhirBase>,
}

impl Policy {
    /// The policy that `settings` describe.
    ///
    /// # Errors
    /// [`PolicyError`]
    pub fn new(settings: Settings) -> Result<Self, PolicyError> {
        let Settings { fhir_servers: bases, fhir_server_check } = settings;
        let mode = match (fhir_server_check, bases.is_empty()) {
            (Some(Mode::Enforce | Mode::Observe), true) => return Err(PolicyError::NoServers),
            (Some(mode), _) => mode,
            (None, true) => Mode::Off,
            (None, false) => Mode::Enforce,
        };
        Ok(Self { mode, bases })
    }

    /// What the check does with what it finds.
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// The registered bases.
    pub fn bases(&self) -> &[FhirBase] {
        &self.bases
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(toml: &str) -> Result<Mode, PolicyError> {
        Policy::new(toml::from_str(toml).unwrap()).map(|policy| policy.mode())
    }

    #[test]
    fn naming_servers_enforces_them() {
        let servers = "fhir_servers = [\"https://ehr.example/fhir\"]\n";
        assert_eq!(policy(""), Ok(Mode::Off));
        assert_eq!(policy(servers), Ok(Mode::Enforce));
        for (word, mode) in [("enforce", Mode::Enforce), ("observe", Mode::Observe)] {
            let check = format!("fhir_server_check = \"{word}\"");
            assert_eq!(policy(&check), Err(PolicyError::NoServers));
            assert_eq!(policy(&format!("{servers}{check}")), Ok(mode));
        }
        assert_eq!(policy("fhir_server_check = \"off\""), Ok(Mode::Off));
        assert_eq!(policy(&format!("{servers}fhir_server_check = \"off\"")), Ok(Mode::Off));
        assert!(toml::from_str::<Settings>("fhir_servers = [\"ehr.example\"]").is_err());
        assert!(toml::from_str::<Settings>("fhir_server = []").is_err());
    }
}
