//! What can be decided, and what is told about it.
//!
//! No event has room for a token, a body, a patient datum, a link's target or a secret. Links and ids are
//! credentials of their own: a [`Print`] stands for them.

use std::fmt;
use std::net::IpAddr;

use aws_lc_rs::digest;
use uuid::Uuid;

use crate::clock::UnixTime;
use crate::names::{ClientId, HookInstance, RequestId, ServiceId, Tenant};
use crate::trace::TraceId;

/// Stands for a link or an id: the same in every event about it, and nothing that could be used.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Print(u64);

impl Print {
    /// The print of a link's or a card's unguessable id: the first 64 bits of its SHA-256.
    pub fn of(id: &[u8]) -> Self {
        let hash = digest::digest(&digest::SHA256, id);
        Self(hash.as_ref().iter().take(8).fold(0, |print, byte| (print << 8) | u64::from(*byte)))
    }
}

impl fmt::Display for Print {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Print {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What was decided, or what became of the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A call was let in.
    CallAccepted,
    /// A call was refused.
    CallRefused,
    /// A token came that had been used before.
    TokenReplayed,
    /// Somebody came too often.
    RateLimited,
    /// The request names a FHIR server that is not the client's.
    FhirServerRefused,
    /// A link went out.
    LinkMinted {
        /// Which.
        link: Print,
        /// Until when it can be opened.
        until: UnixTime,
    },
    /// A link was opened.
    LinkOpened {
        /// Which.
        link: Option<Print>,
        /// Not for the first time, but by the same browser and within the grace.
        again: bool,
    },
    /// A link was not opened: expired, spent, forged.
    LinkRefused {
        /// Which, where what came has the form of a link.
        link: Option<Print>,
    },
    /// A card's or suggestion's id was taken for what it stands for.
    IdUsed {
        /// Which.
        id: Print,
    },
    /// A card's or suggestion's id was not taken.
    IdRefused {
        /// Which.
        id: Print,
    },
    /// A client's keys are others than before.
    KeysTaken,
    /// A client's keys could not be read, or not all of them be used.
    KeysRefused,
    /// The gateway's own keys are others than before: a step of a rotation.
    KeyFileTaken,
    /// The file with the gateway's own keys was not taken up.
    KeyFileRefused,
    /// Another configuration is in force.
    ConfigTaken,
    /// Another configuration was there and is not in force.
    ConfigRefused,
    /// Somebody did something by the admin listener.
    AdminAction {
        /// A stable word for it.
        action: &'static str,
        /// Whether it came to what was asked for.
        done: bool,
    },
    /// The gateway began.
    Started,
    /// The gateway ended in good order.
    Stopped,
    /// Events before this one could not be written.
    EventsLost(u64),
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it was asked.
    Done,
    /// Not as it was asked, by a decision.
    Refused,
    /// Not as it was meant, because something failed.
    Failed,
}

impl Outcome {
    /// A stable word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

impl What {
    /// A stable word.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::CallAccepted => "call-accepted",
            Self::CallRefused => "call-refused",
            Self::TokenReplayed => "token-replayed",
            Self::RateLimited => "rate-limited",
            Self::FhirServerRefused => "fhir-server-refused",
            Self::LinkMinted { .. } => "link-minted",
            Self::LinkOpened { .. } => "link-opened",
            Self::LinkRefused { .. } => "link-refused",
            Self::IdUsed { .. } => "id-used",
            Self::IdRefused { .. } => "id-refused",
            Self::KeysTaken => "keys-taken",
            Self::KeysRefused => "keys-refused",
            Self::KeyFileTaken => "key-file-taken",
            Self::KeyFileRefused => "key-file-refused",
            Self::ConfigTaken => "config-taken",
            Self::ConfigRefused => "config-refused",
            Self::AdminAction { .. } => "admin-action",
            Self::Started => "started",
            Self::Stopped => "stopped",
            Self::EventsLost(_) => "events-lost",
        }
    }

    /// How it ended.
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::CallAccepted
            | Self::LinkMinted { .. }
            | Self::LinkOpened { .. }
            | Self::IdUsed { .. }
            | Self::KeysTaken
            | Self::KeyFileTaken
            | Self::ConfigTaken
            | Self::AdminAction { done: true, .. }
            | Self::Started
            | Self::Stopped => Outcome::Done,
            Self::CallRefused
            | Self::TokenReplayed
            | Self::RateLimited
            | Self::FhirServerRefused
            | Self::LinkRefused { .. }
            | Self::IdRefused { .. }
            | Self::KeysRefused
            | Self::KeyFileRefused
            | Self::ConfigRefused
            | Self::AdminAction { done: false, .. } => Outcome::Refused,
            Self::EventsLost(_) => Outcome::Failed,
        }
    }

    /// The link or the id that it is about.
    pub(crate) const fn about(&self) -> Option<Credential> {
        match self {
            Self::LinkMinted { link, .. } => Some(Credential::Link(*link)),
            Self::LinkOpened { link: Some(link), .. } | Self::LinkRefused { link: Some(link) } => {
                Some(Credential::Link(*link))
            }
            Self::IdUsed { id } | Self::IdRefused { id } => Some(Credential::Id(*id)),
            Self::CallAccepted
            | Self::CallRefused
            | Self::TokenReplayed
            | Self::RateLimited
            | Self::FhirServerRefused
            | Self::LinkOpened { link: None, .. }
            | Self::LinkRefused { link: None }
            | Self::KeysTaken
            | Self::KeysRefused
            | Self::KeyFileTaken
            | Self::KeyFileRefused
            | Self::ConfigTaken
            | Self::ConfigRefused
            | Self::AdminAction { .. }
            | Self::Started
            | Self::Stopped
            | Self::EventsLost(_) => None,
        }
    }
}

/// What of a request is a credential by itself, by its print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Credential {
    /// A link's one-time id.
    Link(Print),
    /// A card's or suggestion's id.
    Id(Print),
}

/// One security decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What was decided.
    pub what: What,
    /// The exact reason, where there is one: see `docs/reasons.md`.
    pub reason: Option<&'static str>,
    /// What was expected and what came, or what there is now. By house rule it holds no secret.
    pub detail: Option<String>,
    /// Whose client it is about, where no request says so.
    pub client: Option<ClientId>,
    /// Whose address it came from, where no request says so.
    pub address: Option<IpAddr>,
}

impl Event {
    /// An event about which nothing more is known.
    pub const fn new(what: What) -> Self {
        Self { what, reason: None, detail: None, client: None, address: None }
    }

    /// The same for this reason.
    #[must_use]
    pub const fn because(mut self, reason: &'static str) -> Self {
        self.reason = Some(reason);
        self
    }

    /// The same with more words. They must hold no secret.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The same about this client.
    #[must_use]
    pub fn client(mut self, client: &ClientId) -> Self {
        self.client = Some(client.clone());
        self
    }

    /// The same by somebody at this address.
    #[must_use]
    pub const fn address(mut self, address: IpAddr) -> Self {
        self.address = Some(address);
        self
    }
}

/// The request in which something was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Its name in the log and in the answer.
    pub request: RequestId,
    /// Its trace.
    pub trace: Option<TraceId>,
    /// Whom it came from, behind trusted proxies.
    pub address: IpAddr,
    /// Which way it went.
    pub way: &'static str,
    /// How it was answered.
    pub status: u16,
    /// Whose it was.
    pub client: Option<ClientId>,
    /// The token's tenant.
    pub tenant: Option<Tenant>,
    /// What it was for.
    pub service: Option<ServiceId>,
    /// The request's hookInstance, or that of the call from which a link or id came.
    pub hook_instance: Option<HookInstance>,
    /// What was let through by a check in observe mode.
    pub observed: Vec<&'static str>,
}

/// Where an event stands among all of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    /// Names the run of the process.
    pub(crate) run: Uuid,
    /// Counted from 1 in that run. A gap tells that events are missing.
    pub(crate) number: u64,
    /// When.
    pub(crate) at: UnixTime,
}

impl Stamp {
    /// RFC 3339 with milliseconds, in UTC, which is FHIR's `instant` too.
    pub(crate) fn time(&self) -> String {
        let seconds = self.at.to_string();
        let millis = self.at.millis() % 1000;
        format!("{}.{millis:03}Z", seconds.trim_end_matches('Z'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_print_is_the_same_for_the_same_and_tells_nothing() {
        assert_eq!(Print::of(b"a"), Print::of(b"a"));
        assert_ne!(Print::of(b"a"), Print::of(b"b"));
        // The beginning of SHA-256("abc").
        assert_eq!(Print::of(b"abc").to_string(), "ba7816bf8f01cfea");
    }
}
