//! The services, and how the servers behind them do.

use maud::{Markup, html};

use crate::admin::page::parts::{Tone, section, state, table};
use crate::admin::page::words::{count, lasting, lasting_millis, moment, percent};
use crate::admin::status::{Address, Bypass, Service, Status, Upstream};
use crate::clock::UnixTime;
use crate::gateway::upstream::AddressState;

const SERVICES: [&str; 5] = ["Service", "Upstream", "Requests", "Server errors", "Upstream took"];
const ADDRESSES: [&str; 6] =
    ["Address", "State", "Half within", "95 % within", "Failed", "Last failure"];

/// Services, then their upstreams.
pub(super) fn services(status: &Status) -> Markup {
    let services = status.services.iter().map(service).collect();
    let content = html! {
        (table("How the services fared in the last hour", &SERVICES, services))
        @for upstream in &status.upstreams {
            (at(upstream, status.now))
            @for bypass in status.bypass.iter().filter(|bypass| bypass.upstream == upstream.id) { (past(bypass)) }
        }
    };
    section("services", "Services", "wide", &content)
}

fn service(service: &Service) -> Vec<Markup> {
    let name = if service.id == "*" { "* (all others)" } else { service.id.as_str() };
    let errors = match service.errors {
        0 => html! { "0" },
        errors => state(
            Tone::Warn,
            &format!("{} ({} %)", count(errors), percent(errors, service.requests)),
        ),
    };
    vec![
        html! { (name) },
        html! { (service.upstream) },
        html! { (count(service.requests)) },
        errors,
        html! {
            @match service.mean_millis {
                Some(mean) => { (lasting_millis(mean)) " on average" }
                None => { span.faint { "–" } }
            }
        },
    ]
}

fn at(upstream: &Upstream, now: UnixTime) -> Markup {
    let rows = upstream.addresses.iter().map(|address| row(address, now)).collect();
    html! {
        h3 { "Upstream " (upstream.id) }
        p.note {
            code { (upstream.url) } " · at work on " (count(upstream.in_flight.try_into().unwrap_or(u64::MAX)))
            " of " (count(upstream.max_concurrent.try_into().unwrap_or(u64::MAX))) " calls"
        }
        (table(&format!("Where {} is called: answers of the last minute, failures of the last five", upstream.id), &ADDRESSES, rows))
    }
}

/// Whether callers can go past the gateway.
fn past(bypass: &Bypass) -> Markup {
    html! {
        p.note {
            @if bypass.answers.is_empty() {
                (state(Tone::Good, "Cannot be reached past the gateway"))
                " on this machine's other addresses; looked at " (moment(bypass.checked_at)) "."
            } @else {
                (state(Tone::Bad, "Can be reached past the gateway"))
                " at " @for answer in &bypass.answers { code { (answer) } " " }
                "Have the service listen on 127.0.0.1 alone."
            }
        }
    }
}

fn row(address: &Address, now: UnixTime) -> Vec<Markup> {
    let took = |millis: Option<u64>| {
        html! {
            @match millis {
                Some(millis) => { (lasting_millis(millis)) }
                None => { span.faint { "–" } }
            }
        }
    };
    vec![
        html! { code { (address.address) } },
        standing(address, now),
        took(address.p50_millis),
        took(address.p95_millis),
        html! { (count(address.failures)) " of " (count(address.calls)) },
        html! {
            @match (address.last_error, address.last_error_at) {
                (Some(error), Some(at)) => { code { (error) } p.note { (moment(at)) } }
                _ => { span.faint { "none" } }
            }
        },
    ]
}

/// The state in words, and what comes next.
pub(super) fn standing(address: &Address, now: UnixTime) -> Markup {
    let (tone, word) = match address.state {
        AddressState::Closed => (Tone::Good, "gets calls"),
        AddressState::Open => (Tone::Bad, "left alone"),
        AddressState::HalfOpen => (Tone::Warn, "being tried"),
        AddressState::Unhealthy => (Tone::Bad, "fails its health check"),
    };
    html! {
        (state(tone, word))
        p.note {
            "since " (moment(address.since))
            @if let Some(next) = address.next_try { ", tried again in " (lasting(next.since(now).as_secs())) }
        }
    }
}
