//! What leaves the gateway in place of a link or an id.
//!
//! Both substitutes are made and checked with the key ring alone: a forged or expired one is refused
//! without a look-up, on every replica. What must be remembered (that a link was spent, which ids an
//! answer had, a target that is too long for a URL) is given to the caller, who has the store.

pub mod binding;
mod base;
mod wire;
pub mod links;
pub mod card_ids;

pub use binding::{Binding, KnownNames, NameClash};
pub use card_ids::{CardId, CardIds, IdError, IdForm, IssueError, Issued, Kind, Original, Record};
pub use links::{LinkTokens, Opened, SealError, Sealed, Target, TokenError, id_of, key_of};
