//! Events as lines of JSON.

use serde::{Serialize, Serializer};

use crate::audit::event::{About, Credential, Event, Stamp, What};
use crate::audit::fhir;
use crate::audit::settings::Format;

/// Appends the line of `event`, its end included.
pub(crate) fn append(
    to: &mut Vec<u8>,
    format: Format,
    stamp: Stamp,
    about: Option<&About>,
    event: &Event,
) {
    let before = to.len();
    let written = match format {
        Format::Ndjson => serde_json::to_writer(&mut *to, &Line::new(stamp, about, event)),
        Format::Fhir => serde_json::to_writer(&mut *to, &fhir::audit_event(stamp, about, event)),
    };
    match written {
        Ok(()) => to.push(b'\n'),
        // Nothing in a line can fail to be written to memory: but half a line would be worse than none.
        Err(_) => to.truncate(before),
    }
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    event: &'static str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    way: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hook_instance: Option<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    again: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<u64>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    observed: &'a [&'static str],
    run: Shown,
    number: u64,
}

/// A text that is written once, where it stands.
struct Shown(String);

impl Shown {
    fn new(value: impl std::fmt::Display) -> Self {
        Self(value.to_string())
    }
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'a> Line<'a> {
    fn new(stamp: Stamp, about: Option<&'a About>, event: &'a Event) -> Self {
        let what = &event.what;
        let client = event.client.as_ref().or_else(|| about?.client.as_ref());
        let address = event.address.or_else(|| Some(about?.address));
        let (link, id) = match what.about() {
            Some(Credential::Link(print)) => (Some(print), None),
            Some(Credential::Id(print)) => (None, Some(print)),
            None => (None, None),
        };
        Self {
            time: stamp.time(),
            event: what.word(),
            outcome: what.outcome().word(),
            reason: event.reason,
            detail: event.detail.as_deref(),
            action: if let What::AdminAction { action, .. } = what { Some(action) } else { None },
            request: about.map(|about| Shown::new(about.request)),
            trace: about.and_then(|about| about.trace).map(Shown::new),
            address: address.map(Shown::new),
            way: about.map(|about| about.way),
            status: about.map(|about| about.status),
            client: client.map(|client| client.as_str()),
            tenant: about.and_then(|about| about.tenant.as_ref()).map(|tenant| tenant.as_str()),
            service: about.and_then(|about| about.service.as_ref()).map(|id| id.as_str()),
            hook_instance: about.and_then(|about| about.hook_instance).map(Shown::new),
            link: link.map(Shown::new),
            until: if let What::LinkMinted { until, .. } = what {
                Some(Shown::new(until))
            } else {
                None
            },
            again: if let What::LinkOpened { again, .. } = what { Some(*again) } else { None },
            id: id.map(Shown::new),
            events: if let What::EventsLost(events) = what { Some(*events) } else { None },
            observed: about.map_or(&[], |about| &about.observed),
            run: Shown::new(stamp.run.as_hyphenated()),
            number: stamp.number,
        }
    }
}
