//! What can be done from the status page, and what became of it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use serde::Serialize;

use crate::admin::status::Status;
use crate::clock::UnixTime;
use crate::names::ClientId;

/// A button.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Reads a client's keys again now.
    FetchKeys(ClientId),
    /// Adds the next sealing and signing keys.
    AddNextKeys,
    /// Makes the next keys current.
    RotateKeys,
    /// Drops the earlier keys that nothing needs any more.
    RetireKeys,
}

impl Action {
    /// The action that this path and these fields of a form ask for.
    pub(crate) fn read(path: &str, form: &[(String, String)]) -> Option<Self> {
        match path {
            "/clients/fetch-keys" => {
                let (_, client) = form.iter().find(|(name, _)| name == "client")?;
                ClientId::new(client).ok().map(Self::FetchKeys)
            }
            "/keys/new" => Some(Self::AddNextKeys),
            "/keys/rotate" => Some(Self::RotateKeys),
            "/keys/retire" => Some(Self::RetireKeys),
            _ => None,
        }
    }

    /// The client that it is about.
    pub const fn client(&self) -> Option<&ClientId> {
        match self {
            Self::FetchKeys(client) => Some(client),
            Self::AddNextKeys | Self::RotateKeys | Self::RetireKeys => None,
        }
    }

    /// The stable word for it, in the log and in the audit.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::FetchKeys(_) => "fetch-keys",
            Self::AddNextKeys => "keys-new",
            Self::RotateKeys => "keys-rotate",
            Self::RetireKeys => "keys-retire",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FetchKeys(client) => write!(f, "Fetch the keys of {client}"),
            Self::AddNextKeys => f.write_str("Add next keys"),
            Self::RotateKeys => f.write_str("Make the next keys current"),
            Self::RetireKeys => f.write_str("Drop earlier keys"),
        }
    }
}

/// What became of an action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Whether it did what the button says.
    pub good: bool,
    /// What happened, or why not and what to do: a sentence for each line.
    pub said: String,
}

impl Outcome {
    /// It did what the button says.
    pub const fn done(said: String) -> Self {
        Self { good: true, said }
    }

    /// It did not.
    pub const fn refused(said: String) -> Self {
        Self { good: false, said }
    }
}

/// What the page is about: told now, and changed by its buttons.
#[async_trait]
pub trait Operated: fmt::Debug + Send + Sync + 'static {
    /// How everything stands. Reads what is at hand and waits for nothing.
    fn status(&self) -> Status;

    /// Does it, and writes it down. Takes a few seconds at most.
    async fn act(&self, action: &Action) -> Outcome;
}

/// One action in the page's list.
#[derive(Clone, Debug, Serialize)]
pub struct Done {
    /// Counted from 1 since the process began.
    pub number: u64,
    /// When.
    pub at: UnixTime,
    /// What the button said.
    pub action: String,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// How many are kept for the page. The log and the audit have all.
const KEPT: usize = 10;

/// What was done from the page since the process began, the latest first.
#[derive(Debug, Default)]
pub(crate) struct Journal(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    count: u64,
    latest: VecDeque<Arc<Done>>,
}

impl Journal {
    /// Notes one, and says which number it is.
    pub(crate) fn note(&self, at: UnixTime, action: &Action, outcome: Outcome) -> u64 {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.count = entries.count.saturating_add(1);
        let number = entries.count;
        let action = action.to_string();
        entries.latest.push_front(Arc::new(Done { number, at, action, outcome }));
        entries.latest.truncate(KEPT);
        number
    }

    /// The latest.
    pub(crate) fn latest(&self) -> Vec<Arc<Done>> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.latest.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_and_a_form_make_an_action() {
        let form = |client: &str| vec![("client".to_owned(), client.to_owned())];
        let ehr = Action::FetchKeys(ClientId::new("ehr").unwrap());
        assert_eq!(Action::read("/clients/fetch-keys", &form("ehr")), Some(ehr));
        assert_eq!(Action::read("/clients/fetch-keys", &form("<b>")), None);
        assert_eq!(Action::read("/clients/fetch-keys", &[]), None);
        assert_eq!(Action::read("/keys/rotate", &[]), Some(Action::RotateKeys));
        assert_eq!(Action::read("/keys/rotate/", &[]), None);
    }

    #[test]
    fn the_latest_come_first_and_the_oldest_are_forgotten() {
        let journal = Journal::default();
        for round in 1..=12 {
            let said = Outcome::done(round.to_string());
            assert_eq!(journal.note(UnixTime::from_secs(round), &Action::RetireKeys, said), round);
        }
        let numbers: Vec<u64> = journal.latest().iter().map(|done| done.number).collect();
        assert_eq!(numbers, [12, 11, 10, 9, 8, 7, 6, 5, 4, 3]);
    }
}
