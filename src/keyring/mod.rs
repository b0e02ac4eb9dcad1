//! The keys that seal links, vouch for ids and sign.
//!
//! They live in one file: JSON, mode 0600, made at the first start. Every replica of one gateway has the
//! same file, and takes it up again when it changes. What a key sealed stays readable for as long as the
//! file holds the key. [`Keyring`] keeps no secret of the file, only what was derived from it; none of it
//! is printed.

mod error;
mod life;
mod access;
mod place;
mod file;
mod seal;
mod sign;
mod fingerprint;
mod ring;
mod step;
mod rotation;
mod change;
mod live;
mod metrics;
mod watch;

pub use change::KeyFileWriter;
pub use error::{KeyUse, KeyringError};
pub use fingerprint::Fingerprint;
pub use life::{Course, DEFAULT_LONGEST_LIFE, KeyState, LONGEST_SIGNATURE, MARGIN};
pub use live::LiveKeyring;
pub use metrics::Metrics;
pub use ring::{KeyRow, Keyring};
pub use rotation::{Life, PROPAGATION, RotationError, Wanted};
pub use seal::{BadSeal, Kid, NONCE_LEN, Purpose, SealKey, TAG_LEN};
pub use sign::{PublicJwk, SigningAlgorithm, SigningKey};
pub use step::Step;
pub use watch::{EVERY, KeyFileWatch};

#[cfg(test)]
mod tests;

#[cfg(test)]
mod rotation_tests;
