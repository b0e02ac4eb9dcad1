//! Listeners that whoever started the process has opened: systemd's socket activation.
//!
//! The port can then be one that only root may open, and no connection is refused while the process starts
//! anew.

use std::env;
use std::io;
use std::net::TcpListener;

use listenfd::ListenFd;

/// The listeners that were handed over; what is missing is opened as the configuration says.
#[derive(Debug, Default)]
pub struct Sockets {
    /// In place of `listener.address`.
    pub public: Option<TcpListener>,
    /// In place of `health.address`.
    pub health: Option<TcpListener>,
    /// In place of `admin.address`.
    pub admin: Option<TcpListener>,
}

/// What was handed over cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SocketsError {
    /// It is no TCP listener.
    #[error(
        "LISTEN_FDS: {name:?} is not to be used: {source}; write ListenStream= with a TCP address"
    )]
    Unfit {
        /// What it is called.
        name: String,
        /// What is wrong with it.
        source: io::Error,
    },
    /// There is another for the same.
    #[error(
        "LISTEN_FDS: {0:?} is one too many; name the others \"health\" and \"admin\" with \
         FileDescriptorName="
    )]
    Twice(String),
}

impl Sockets {
    /// Takes those that the environment names (`LISTEN_FDS`, `LISTEN_FDNAMES`; sd_listen_fds(3)): `health` and
    /// `admin` by their names, and whatever else is called is the public one. Changes the environment, so it
    /// is for the beginning of a process, and for once.
    ///
    /// # Errors
    /// [`SocketsError`]
    #[expect(
        clippy::disallowed_methods,
        reason = "sockets are no configuration: whoever starts it passes them"
    )]
    pub fn handed_over() -> Result<Self, SocketsError> {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut handed = ListenFd::from_env();
        let names = names.split(':').chain(std::iter::repeat("")).take(handed.len());
        let mut sockets = Self::default();
        for (number, name) in names.enumerate() {
            let taken = handed
                .take_tcp_listener(number)
                .map_err(|source| SocketsError::Unfit { name: name.to_owned(), source })?;
            let place = match name {
                "health" => &mut sockets.health,
                "admin" => &mut sockets.admin,
                _ => &mut sockets.public,
            };
            if place.is_some() {
                return Err(SocketsError::Twice(name.to_owned()));
            }
            *place = taken;
        }
        Ok(sockets)
    }
}
