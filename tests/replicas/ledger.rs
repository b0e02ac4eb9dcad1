//! The ledger: what happened, counted, and what must not happen, told.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;

/// Complaints that are kept; the others are counted only.
const KEPT: usize = 20;

/// A row. What stands below "never" must be 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Row {
    Killed,
    Terminated,
    StorePaused,
    StoreKilled,
    KeysRotated,
    ClockStepped,
    Tokens,
    CallsAnswered,
    CallsReplayed,
    CallsUnanswered,
    CardsWithoutIds,
    LinksMinted,
    Clicks,
    LinksOpened,
    CameAgain,
    ClicksRefused,
    ClicksUnanswered,
    LinksLost,
    EntriesAnswered,
    EntriesDelivered,
    EntriesUnanswered,
    RepeatsAbsorbed,
    ReportsUnanswered,
    InterruptedByKill,
    InterruptedByStore,
    StillLeased,
    DoubleWins,
    DoubleTokens,
    EntriesLost,
    EntriesTwice,
    Strays,
    Impossible,
}

const ROWS: [(Row, &str); 32] = [
    (Row::Killed, "gateways killed and started again"),
    (Row::Terminated, "gateways ended and started again"),
    (Row::StorePaused, "store stopped for a while"),
    (Row::StoreKilled, "store killed and started again"),
    (Row::KeysRotated, "keys rotated"),
    (Row::ClockStepped, "clock of one gateway stepped"),
    (Row::Tokens, "tokens signed for hook calls"),
    (Row::CallsAnswered, "calls answered with cards"),
    (Row::CallsReplayed, "calls refused: token used before"),
    (Row::CallsUnanswered, "calls without a yes or no"),
    (Row::CardsWithoutIds, "answers whose ids were left out"),
    (Row::LinksMinted, "links minted"),
    (Row::Clicks, "clicks"),
    (Row::LinksOpened, "links opened"),
    (Row::CameAgain, "came again with the same browser"),
    (Row::ClicksRefused, "clicks refused: gone"),
    (Row::ClicksUnanswered, "clicks without a yes or no"),
    (Row::LinksLost, "links that an answer that was lost took along"),
    (Row::EntriesAnswered, "entries answered with success"),
    (Row::EntriesDelivered, "entries delivered"),
    (Row::EntriesUnanswered, "of these delivered, and no success told"),
    (Row::RepeatsAbsorbed, "repeats of entries answered with success"),
    (Row::ReportsUnanswered, "reports without a yes or no"),
    (Row::InterruptedByKill, "delivered again: killed before it was noted"),
    (Row::InterruptedByStore, "delivered again: store away when it was to be noted"),
    (Row::StillLeased, "entries that waited for a lease at the end"),
    (Row::DoubleWins, "never: links won twice"),
    (Row::DoubleTokens, "never: tokens accepted twice"),
    (Row::EntriesLost, "never: entries answered with success and not delivered"),
    (Row::EntriesTwice, "never: entries delivered twice"),
    (Row::Strays, "never: deliveries after everything was over"),
    (Row::Impossible, "never: anything else that cannot be"),
];

/// Counts, and complaints about what must not be.
#[derive(Default)]
pub(crate) struct Ledger {
    counts: Mutex<BTreeMap<Row, u64>>,
    complaints: Mutex<Vec<String>>,
}

impl Ledger {
    pub(crate) fn add(&self, row: Row, count: usize) {
        *self.counts.lock().unwrap().entry(row).or_default() += u64::try_from(count).unwrap();
    }

    pub(crate) fn of(&self, row: Row) -> u64 {
        self.counts.lock().unwrap().get(&row).copied().unwrap_or(0)
    }

    /// Something happened that must not.
    pub(crate) fn complain(&self, row: Row, what: String) {
        self.add(row, 1);
        let mut complaints = self.complaints.lock().unwrap();
        if complaints.len() < KEPT {
            println!("{row:?}: {what}");
            complaints.push(format!("{row:?}: {what}"));
        }
    }

    /// Whether there was at least so much of everything.
    pub(crate) fn has(&self, least: &[(Row, u64)]) -> bool {
        least.iter().all(|(row, least)| self.of(*row) >= *least)
    }

    /// Asserts that nothing happened that must not, that entries add up, and that there was enough of
    /// everything for this to mean something.
    pub(crate) fn close(&self, least: &[(Row, u64)]) {
        let complaints = self.complaints.lock().unwrap();
        assert!(complaints.is_empty(), "{}\n{self}", complaints.join("\n"));
        assert_eq!(
            self.of(Row::EntriesDelivered),
            self.of(Row::EntriesAnswered) + self.of(Row::EntriesUnanswered),
            "entries\n{self}"
        );
        for (row, least) in least {
            assert!(self.of(*row) >= *least, "{row:?} is below {least}\n{self}");
        }
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | how often |\n|---|---:|")?;
        ROWS.iter().try_for_each(|(row, name)| writeln!(f, "| {name} | {} |", self.of(*row)))
    }
}
