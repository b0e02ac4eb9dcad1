//! `[[client]]`: one EHR. Its keys belong to several steps; here they are handed to each.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::gateway::auth;
use crate::gateway::inspect::policy;
use crate::gateway::limit;

/// One client, as configured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Client {
    /// Who it is and whom its tokens may be addressed to.
    #[serde(flatten)]
    pub auth: auth::ClientSettings,
    /// What its requests may say.
    #[serde(flatten)]
    pub inspect: policy::Settings,
    /// Its own rate, where it differs from everybody's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<limit::ClientSettings>,
}

/// Keys that are not authentication's.
const INSPECT: [&str; 2] = ["fhir_servers", "fhir_server_check"];

/// serde cannot refuse unknown keys in flattened structs: the keys are dealt out by hand, and every step
/// refuses what it does not know.
impl<'de> Deserialize<'de> for Client {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut all = Map::deserialize(deserializer)?;
        let limit = all
            .remove("limit")
            .map(serde_json::from_value)
            .transpose()
            .map_err(D::Error::custom)?;
        let inspect: Map<String, Value> =
            INSPECT.iter().filter_map(|key| all.remove_entry(*key)).collect();
        let inspect = serde_json::from_value(Value::Object(inspect)).map_err(D::Error::custom)?;
        let auth = serde_json::from_value(Value::Object(all)).map_err(D::Error::custom)?;
        Ok(Self { auth, inspect, limit })
    }
}
