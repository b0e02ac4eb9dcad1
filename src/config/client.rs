//! `[[client]]`: one EHR. Its keys belong to several steps; here they are handed to each.

use figment::value::{Dict, Value};
use schemars::JsonSchema;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};

use crate::config::sentence;
use crate::config::sentence::Finding;
use crate::gateway::auth;
use crate::gateway::inspect::policy;
use crate::gateway::limit;
use crate::gateway::replay;

/// One client, as configured.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Client {
    /// Who it is and whom its tokens may be addressed to.
    #[serde(flatten)]
    pub auth: auth::ClientSettings,
    /// What its requests may say.
    #[serde(flatten)]
    pub inspect: policy::Settings,
    /// What its tokens are worth while the store is away.
    #[serde(flatten)]
    pub replay: replay::ClientSettings,
    /// Its own rate, where it differs from everybody's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<limit::ClientSettings>,
}

/// Keys that are not authentication's.
const INSPECT: [&str; 2] = ["fhir_servers", "fhir_server_check"];
const REPLAY: [&str; 1] = ["when_store_down"];
const LIMIT: &str = "limit";

/// serde cannot refuse unknown keys in flattened structs: the keys are dealt out by hand, and every step
/// refuses what it does not know.
impl<'de> Deserialize<'de> for Client {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut all = Dict::deserialize(deserializer)?;
        let limit = all.remove(LIMIT).map(|limit| read(limit, Some(LIMIT))).transpose();
        let mut dealt = |keys: &[&str]| -> Value {
            let dealt: Dict = keys.iter().filter_map(|key| all.remove_entry(*key)).collect();
            dealt.into()
        };
        let inspect = read(dealt(&INSPECT), None);
        let replay = read(dealt(&REPLAY), None);
        let auth = read(Value::from(all), None);
        let custom = D::Error::custom::<String>;
        Ok(Self {
            auth: auth.map_err(custom)?,
            inspect: inspect.map_err(custom)?,
            replay: replay.map_err(custom)?,
            limit: limit.map_err(custom)?,
        })
    }
}

/// Reads what stands at `key`, or in this table itself, and says where in it something is wrong.
fn read<T: DeserializeOwned>(value: Value, key: Option<&str>) -> Result<T, String> {
    value.deserialize().map_err(|error: figment::Error| {
        let found = sentence::finding(&error);
        let path = key.map(str::to_owned).into_iter().chain(found.path).collect();
        sentence::packed(&Finding { path, ..found })
    })
}
