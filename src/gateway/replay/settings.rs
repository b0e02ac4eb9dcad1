//! What a client chose for the time when the store is away.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What of `[[client]]` is about spending its tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClientSettings {
    /// What its hook and discovery calls get while the store cannot take their tokens: `"refuse"`
    /// (default: 503, and nothing comes twice) or `"local"` (they go on, and each replica knows only
    /// the tokens that it has seen itself).
    pub when_store_down: WhenStoreDown,
}

/// What happens to a token that the store cannot take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WhenStoreDown {
    /// Its call is answered 503.
    #[default]
    Refuse,
    /// It is remembered by this replica alone, and its call goes on.
    Local,
}
