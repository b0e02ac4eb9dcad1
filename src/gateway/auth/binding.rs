//! Whether a call came over a connection that its client may use: whose certificate was shown there.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::client_certificate::{CertificateName, ClientCertificate};
use crate::gateway::auth::error::AuthReason;
use crate::gateway::auth::shown::Shown;
use crate::names::ClientId;

/// Which certificates are whose.
#[derive(Debug, Default)]
pub(super) struct Bindings(Vec<(ClientId, Vec<CertificateName>)>);

impl Bindings {
    /// The certificates called `names` are those of `client`, which calls with no others; without names it
    /// calls with none, or with one that is nobody else's.
    pub(super) fn bind(&mut self, client: ClientId, names: Vec<CertificateName>) {
        if !names.is_empty() {
            self.0.push((client, names));
        }
    }

    /// The certificates that `client` calls with.
    pub(super) fn names(&self, client: &ClientId) -> Vec<String> {
        let own = self.0.iter().filter(|(id, _)| id == client);
        own.flat_map(|(_, names)| names.iter().cloned().map(String::from)).collect()
    }

    /// Whether `client` may call over a connection on which `certificate` was shown, with a token that is
    /// `confirmed` by a certificate's hash (RFC 8705 section 3.1) or by none.
    ///
    /// # Errors
    /// [`AuthReason::CertificateMissing`], [`AuthReason::Certificate`]
    pub(super) fn check(
        &self,
        client: &ClientId,
        confirmed: Option<&str>,
        certificate: Option<&ClientCertificate>,
    ) -> Result<(), AuthReason> {
        let is_bound = self.0.iter().any(|(id, _)| id == client);
        let Some(certificate) = certificate else {
            let is_needed = is_bound || confirmed.is_some();
            return if is_needed { Err(AuthReason::CertificateMissing) } else { Ok(()) };
        };
        let is_named = |names: &[CertificateName]| names.iter().any(|name| name.names(certificate));
        let mut owners = self.0.iter().filter(|(_, names)| is_named(names)).map(|(id, _)| id);
        let is_own = if is_bound { owners.any(|id| id == client) } else { owners.next().is_none() };
        let is_confirmed =
            confirmed.is_none_or(|hash| hash == URL_SAFE_NO_PAD.encode(certificate.fingerprint()));
        if is_own && is_confirmed {
            Ok(())
        } else {
            Err(AuthReason::Certificate(Shown::new(&certificate.to_string())))
        }
    }
}
