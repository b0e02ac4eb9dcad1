//! What the operator says about each service.

use std::collections::HashMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::gateway::cards::policy::{Ids, Policy};
use crate::gateway::opening;
use crate::names::{ServiceId, UpstreamId};
use crate::units::Period;

/// One service, as configured. Without any, every id goes to the only upstream with these defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The service's id, or `*` for every id that has no entry of its own.
    #[schemars(example = &"patient-greeting")]
    pub id: Pattern,
    /// The upstream that serves it. Need not be said where there is only one.
    #[serde(default)]
    pub upstream: Option<UpstreamId>,
    /// What happens to its cards.
    #[serde(default)]
    pub cards: Policy,
    /// What its links become.
    #[serde(default)]
    pub links: opening::Settings,
    /// How feedback and analytics find their way back.
    #[serde(default)]
    pub feedback: FeedbackSettings,
}

/// Which services an entry is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[A-Za-z0-9._~!$&'()*+,;=:@-]{1,128}$"))]
pub enum Pattern {
    /// Every service without an entry of its own.
    Any,
    /// This service.
    One(ServiceId),
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        ServiceId::new(&text).map(Self::One).map_err(|e| e.to_string())
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        match pattern {
            Pattern::Any => "*".to_owned(),
            Pattern::One(id) => id.into(),
        }
    }
}

impl Settings {
    /// What applies where no service is configured: every id, with every default.
    pub fn any() -> Self {
        Self {
            id: Pattern::Any,
            upstream: None,
            cards: Policy::default(),
            links: opening::Settings::default(),
            feedback: FeedbackSettings::default(),
        }
    }
}

/// How feedback and analytics find their way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FeedbackSettings {
    /// How long a card's ids are honoured. Feedback may come long after the card: "a card once ignored
    /// could later be acted upon" (CDS Hooks 2.0, Feedback).
    pub lifetime: Period,
    /// Who may call the drafts' `analytics/{uuid}`: `"bearer"` asks for a JWT, `"uuid"` takes the
    /// unguessable, expiring id alone, because the clients that still call it send nothing else.
    pub analytics: AnalyticsCredential,
    /// What a repeated analytics call gets: `"absorb"` answers 200, `"refuse"` 410. Neither is delivered.
    pub repeat: Repeat,
}

impl Default for FeedbackSettings {
    fn default() -> Self {
        Self {
            lifetime: Period::secs(24 * 3600),
            analytics: AnalyticsCredential::Bearer,
            repeat: Repeat::Absorb,
        }
    }
}

/// What an analytics call must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AnalyticsCredential {
    /// A JWT, as every other call.
    Bearer,
    /// The id in the path.
    Uuid,
}

/// What a repeated analytics call gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Repeat {
    /// 200, without delivery.
    Absorb,
    /// 410.
    Refuse,
}

/// One service, ready.
#[derive(Debug)]
pub struct Service {
    /// Where it is.
    pub upstream: UpstreamId,
    /// What happens to its cards.
    pub cards: Policy,
    /// What its links become.
    pub links: opening::Settings,
    /// How feedback and analytics find their way back.
    pub feedback: FeedbackSettings,
}

impl Service {
    /// Whether an analytics call may show the id alone: only one that this gateway issued is unguessable,
    /// expires, and says whose it is.
    pub fn takes_uuid_alone(&self) -> bool {
        self.feedback.analytics == AnalyticsCredential::Uuid && self.cards.ids == Ids::Rewrite
    }
}

/// All services.
#[derive(Debug, Default)]
pub struct Services {
    named: HashMap<ServiceId, Arc<Service>>,
    any: Option<Arc<Service>>,
}

impl Services {
    /// The services of these entries, each found by its pattern.
    pub fn new(entries: impl IntoIterator<Item = (Pattern, Service)>) -> Self {
        let mut services = Self::default();
        for (pattern, service) in entries {
            let service = Arc::new(service);
            match pattern {
                Pattern::Any => services.any = Some(service),
                Pattern::One(id) => {
                    services.named.insert(id, service);
                }
            }
        }
        services
    }

    /// The service with this id.
    pub fn get(&self, id: &ServiceId) -> Option<&Arc<Service>> {
        self.named.get(id).or(self.any.as_ref())
    }

    /// The ids that are configured.
    pub fn ids(&self) -> impl Iterator<Item = &ServiceId> {
        self.named.keys()
    }
}
