//! How a service's links behave: `[service.links]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Period;

/// How a service's links behave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How long a link can be opened after its card was sent. One hour: a card belongs to an open
    /// chart, and EHRs are told to discard it when that closes.
    pub lifetime: Period,
    /// When a person is asked to press a button first. `auto`: only where the browser does not say that
    /// a person is going there.
    pub confirm: Confirm,
    /// How long the browser that opened a link may open it again. Thirty seconds: enough for a double
    /// click, a reload or the back button. `0s` allows none.
    pub grace: Period,
}

impl Default for Settings {
    fn default() -> Self {
        Self { lifetime: Period::secs(3600), confirm: Confirm::Auto, grace: Period::secs(30) }
    }
}

/// When a link shows a button before it leads anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Confirm {
    /// Unless the browser says that it navigates (`Sec-Fetch-Mode: navigate`).
    Auto,
    /// Always: for networks whose link scanners drive real browsers.
    Always,
    /// Never: every `GET` spends that is not looking ahead. For networks without link scanners whose
    /// browsers are too old to say anything.
    Never,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_documentation_shows() {
        let shown = "lifetime = \"1h\"\nconfirm = \"auto\"\ngrace = \"30s\"\n";
        assert_eq!(toml::from_str::<Settings>(shown).unwrap(), Settings::default());
        assert_eq!(toml::from_str::<Settings>("").unwrap(), Settings::default());
        let other: Settings = toml::from_str("confirm = \"always\"\ngrace = \"0s\"").unwrap();
        assert_eq!((other.confirm, other.grace), (Confirm::Always, Period::secs(0)));
        let printed = toml::to_string(&other).unwrap();
        assert_eq!(toml::from_str::<Settings>(&printed).unwrap(), other);
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for bad in ["confirm = \"sometimes\"", "confirm = true", "lifetime = 3600", "live = \"1h\""]
        {
            assert!(toml::from_str::<Settings>(bad).is_err(), "{bad}");
        }
    }
}
