//! Events as FHIR R4 AuditEvent resources (<https://hl7.org/fhir/R4/auditevent.html>).
//!
//! Types and subtypes come from the value sets that R4 names, which are DICOM's and HL7's own codes; what is
//! decided here and has no code there has one of the gateway's own beside it, in `urn:hookgate:audit`.

use serde_json::{Map, Value, json};

use crate::audit::event::{About, Credential, Event, Outcome, Stamp, What};

const DCM: &str = "http://dicom.nema.org/resources/ontology/DCM";
const EVENT_TYPE: &str = "http://terminology.hl7.org/CodeSystem/audit-event-type";
const SOURCE_TYPE: &str = "http://terminology.hl7.org/CodeSystem/security-source-type";
const ENTITY_TYPE: &str = "http://terminology.hl7.org/CodeSystem/audit-entity-type";
const OWN: &str = "urn:hookgate:audit";

/// `event` as a resource.
pub(crate) fn audit_event(stamp: Stamp, about: Option<&About>, event: &Event) -> Value {
    let mut resource = Map::new();
    let mut put = |name: &str, value: Value| resource.insert(name.to_owned(), value);
    put("resourceType", json!("AuditEvent"));
    put("type", kind(&event.what));
    put("subtype", Value::Array(subtypes(&event.what)));
    put("action", json!(action(&event.what)));
    put("recorded", json!(stamp.time()));
    put("outcome", json!(outcome(event.what.outcome())));
    if let Some(said) = said(event) {
        put("outcomeDesc", json!(said));
    }
    put("agent", json!([agent(about, event)]));
    put(
        "source",
        json!({
            "observer": {
                "identifier": {"system": "urn:ietf:rfc:3986", "value": format!("urn:uuid:{}", stamp.run)},
                "display": "hookgate",
            },
            "type": [coding(SOURCE_TYPE, "4", "Application Server")],
        }),
    );
    put("entity", json!([entity(stamp, about, event)]));
    Value::Object(resource)
}

fn coding(system: &str, code: &str, display: &str) -> Value {
    json!({"system": system, "code": code, "display": display})
}

/// `type`, of the value set `audit-event-type`.
fn kind(what: &What) -> Value {
    match what {
        What::CallAccepted | What::LinkOpened { .. } | What::IdUsed { .. } => {
            coding(EVENT_TYPE, "rest", "RESTful Operation")
        }
        What::CallRefused
        | What::TokenReplayed
        | What::RateLimited
        | What::FhirServerRefused
        | What::LinkRefused { .. }
        | What::IdRefused { .. }
        | What::KeysTaken
        | What::KeysRefused
        | What::KeyFileTaken
        | What::KeyFileRefused
        | What::LinkMinted { .. } => coding(DCM, "110113", "Security Alert"),
        What::ConfigTaken
        | What::ConfigRefused
        | What::AdminAction { .. }
        | What::Started
        | What::Stopped => coding(DCM, "110100", "Application Activity"),
        What::EventsLost(_) => coding(DCM, "110101", "Audit Log Used"),
    }
}

/// `subtype`: a code of the value set `audit-event-sub-type` where it has one, and the gateway's own always.
fn subtypes(what: &What) -> Vec<Value> {
    let standard = match what {
        What::KeysTaken
        | What::KeysRefused
        | What::KeyFileTaken
        | What::KeyFileRefused
        | What::ConfigTaken
        | What::ConfigRefused => Some(("110129", "Security Configuration")),
        What::LinkMinted { .. } => Some(("110135", "Object Security Attributes Changed")),
        What::CallRefused
        | What::TokenReplayed
        | What::FhirServerRefused
        | What::LinkRefused { .. }
        | What::IdRefused { .. }
        | What::AdminAction { .. } => Some(("110132", "Use of Restricted Function")),
        What::Started => Some(("110120", "Application Start")),
        What::Stopped => Some(("110121", "Application Stop")),
        What::EventsLost(_) => Some(("110133", "Audit Recording Stopped")),
        What::CallAccepted | What::RateLimited | What::LinkOpened { .. } | What::IdUsed { .. } => {
            None
        }
    };
    let standard = standard.map(|(code, display)| coding(DCM, code, display));
    standard.into_iter().chain([json!({"system": OWN, "code": what.word()})]).collect()
}

/// `action`, of the value set `audit-event-action`.
const fn action(what: &What) -> &'static str {
    match what {
        What::LinkMinted { .. } => "C",
        What::KeysTaken
        | What::KeysRefused
        | What::KeyFileTaken
        | What::KeyFileRefused
        | What::ConfigTaken
        | What::ConfigRefused => "U",
        What::CallAccepted
        | What::CallRefused
        | What::TokenReplayed
        | What::RateLimited
        | What::FhirServerRefused
        | What::LinkOpened { .. }
        | What::LinkRefused { .. }
        | What::IdUsed { .. }
        | What::IdRefused { .. }
        | What::AdminAction { .. }
        | What::Started
        | What::Stopped
        | What::EventsLost(_) => "E",
    }
}

/// `outcome`, of the value set `audit-event-outcome`: the requester's fault is a minor failure there, the server's
/// own a serious one.
const fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "0",
        Outcome::Refused => "4",
        Outcome::Failed => "8",
    }
}

fn said(event: &Event) -> Option<String> {
    match (event.reason, event.detail.as_deref()) {
        (Some(reason), Some(detail)) => Some(format!("{reason}: {detail}")),
        (Some(reason), None) => Some(reason.to_owned()),
        (None, detail) => detail.map(str::to_owned),
    }
}

/// Who asked: the EHR, or a browser of which no more than the address is known; the gateway where nobody did.
fn agent(about: Option<&About>, event: &Event) -> Value {
    let mut agent = Map::new();
    let client = event.client.as_ref().or_else(|| about?.client.as_ref());
    if let Some(client) = client {
        let who =
            json!({"identifier": {"system": "urn:hookgate:client", "value": client.as_str()}});
        agent.insert("who".to_owned(), who);
    } else if about.is_none() && event.address.is_none() {
        agent.insert("who".to_owned(), json!({"display": "hookgate"}));
    }
    if let Some(tenant) = about.and_then(|about| about.tenant.as_ref()) {
        agent.insert("altId".to_owned(), json!(tenant.as_str()));
    }
    let asked = about.is_some() || event.address.is_some();
    agent.insert("requestor".to_owned(), json!(asked));
    if let Some(address) = event.address.or_else(|| Some(about?.address)) {
        // 2: an IP address.
        let network = json!({"address": address.to_string(), "type": "2"});
        agent.insert("network".to_owned(), network);
    }
    Value::Object(agent)
}

/// What it was about, and all that is known beside.
fn entity(stamp: Stamp, about: Option<&About>, event: &Event) -> Value {
    let what = &event.what;
    let name = about.and_then(|about| about.service.as_ref()).map(|service| service.as_str());
    let mut details: Vec<(&str, String)> =
        vec![("run", stamp.run.to_string()), ("number", stamp.number.to_string())];
    if let Some(reason) = event.reason {
        details.push(("reason", reason.to_owned()));
    }
    if let Some(about) = about {
        details.push(("request", about.request.to_string()));
        details.push(("way", about.way.to_owned()));
        details.push(("status", about.status.to_string()));
        details.extend(about.trace.map(|trace| ("trace", trace.to_string())));
        details.extend(about.hook_instance.map(|id| ("hook_instance", id.to_string())));
        details.extend(about.observed.iter().map(|reason| ("observed", (*reason).to_owned())));
    }
    details.extend(what.about().map(|credential| match credential {
        Credential::Link(print) => ("link", print.to_string()),
        Credential::Id(print) => ("id", print.to_string()),
    }));
    match what {
        What::LinkMinted { until, .. } => details.push(("until", until.to_string())),
        What::LinkOpened { again, .. } => details.push(("again", again.to_string())),
        What::AdminAction { action, .. } => details.push(("action", (*action).to_owned())),
        What::EventsLost(events) => details.push(("events", events.to_string())),
        What::CallAccepted
        | What::CallRefused
        | What::TokenReplayed
        | What::RateLimited
        | What::FhirServerRefused
        | What::LinkRefused { .. }
        | What::IdUsed { .. }
        | What::IdRefused { .. }
        | What::KeysTaken
        | What::KeysRefused
        | What::KeyFileTaken
        | What::KeyFileRefused
        | What::ConfigTaken
        | What::ConfigRefused
        | What::Started
        | What::Stopped => {}
    }
    let details: Vec<Value> = details
        .into_iter()
        .map(|(name, value)| json!({"type": name, "valueString": value}))
        .collect();
    json!({
        "type": coding(ENTITY_TYPE, "2", "System Object"),
        "name": name.unwrap_or("hookgate"),
        "detail": details,
    })
}
