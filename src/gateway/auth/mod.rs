//! Who is calling: from headers to a verified token.
//!
//! [`Authenticator`] is the step; the modules below stand in the order in which a token meets them:
//! what can be said about it (`error`), the header field (`bearer`), the token's parts (`token`,
//! `claims`, `audience`), the keys (`jwk` to `refresher`), the settings (`client`, `setup`).

mod algorithm;
mod shown;
mod settings;
mod error;
mod members;
mod bearer;
mod token;
mod claims;
mod audience;
mod public_keys;
mod jwk;
mod key_set;
mod freshness;
mod kept;
mod source;
mod counts;
mod progress;
mod keys;
mod metrics;
mod refresher;
mod problems;
mod client;
mod setup;
mod binding;
mod checks;
mod authenticator;
mod finding;
mod advice;
mod notes;
mod examination;

pub use crate::gateway::auth::algorithm::Algorithm;
pub use crate::gateway::auth::audience::{AudienceRule, Called};
pub use crate::gateway::auth::authenticator::{Authenticator, Refreshed, Verified};
pub use crate::gateway::auth::error::{AuthError, AuthReason, ClaimFault, HeaderFault, Malformed};
pub use crate::gateway::auth::examination::Question;
pub use crate::gateway::auth::finding::{Check, Examination, Finding, Outcome};
pub use crate::gateway::auth::keys::KeyStatus;
pub use crate::gateway::auth::metrics::Metrics;
pub use crate::gateway::auth::problems::{SettingsError, SettingsProblem};
pub use crate::gateway::auth::settings::{
    AudienceSetting, ClientSettings, KeySettings, ReplayMode,
};
pub use crate::gateway::auth::shown::Shown;
