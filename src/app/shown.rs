//! What is at work, in the words of the status page.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::admin::status::{
    Address, Certificate, Client, Key, Links, NearLimit, Reason, Refusals, Service, Upstream,
};
use crate::app::generation::Generation;
use crate::certificate;
use crate::clock::UnixTime;
use crate::config::Config;
use crate::gateway::auth::KeyStatus;
use crate::gateway::limit;
use crate::gateway::limit::Near;
use crate::gateway::service;
use crate::gateway::upstream::{AddressStatus, UpstreamStatus};
use crate::keyring::KeyRow;
use crate::names::{ClientId, UpstreamId};
use crate::record::history::{Fared, MINUTES, Minute};
use crate::store;

pub(super) fn clients(generation: &Generation) -> Vec<Client> {
    let pending = generation.auth().pending();
    let sources: BTreeMap<&ClientId, &'static str> = generation
        .config()
        .client
        .iter()
        .map(|client| {
            let settings = &client.auth;
            let source = match (&settings.jwks_url, &settings.jwks_file) {
                (Some(_), _) => "jwks_url",
                (None, Some(_)) => "jwks_file",
                (None, None) => "jwks",
            };
            (&settings.id, source)
        })
        .collect();
    let shown = generation.auth().status().into_iter().map(|keys| {
        let source = sources.get(&keys.client).copied().unwrap_or("jwks");
        let usable = !pending.contains(&keys.client);
        client(keys, source, usable)
    });
    shown.collect()
}

fn client(keys: KeyStatus, source: &'static str, usable: bool) -> Client {
    Client {
        id: keys.client.as_str().to_owned(),
        source,
        usable,
        kids: keys.kids,
        refused: keys.refused,
        age_seconds: keys.age.map(|age| age.as_secs()),
        last_success: keys.last_success,
        last_error: keys.last_error,
        next_refresh_seconds: keys.next_refresh.map(|left| left.as_secs()),
        fetchable: source != "jwks",
    }
}

/// With `*`, those that were called in the last hour have rows of their own too.
pub(super) fn services(config: &Config, minutes: &[Minute]) -> Vec<Service> {
    let mut fared: BTreeMap<String, Fared> = BTreeMap::new();
    for (service, of_it) in minutes.iter().flat_map(|minute| &minute.services) {
        let sum = fared.entry(service.as_str().to_owned()).or_default();
        sum.requests = sum.requests.saturating_add(of_it.requests);
        sum.calls = sum.calls.saturating_add(of_it.calls);
        sum.errors = sum.errors.saturating_add(of_it.errors);
        sum.upstream = sum.upstream.saturating_add(of_it.upstream);
    }
    let default = service::Settings::any();
    let entries = config.service.iter().chain(config.service.is_empty().then_some(&default));
    let mut shown = Vec::new();
    let mut all_others = None;
    for entry in entries {
        let upstream = config.upstream_of(entry.upstream.as_ref());
        let upstream = upstream.map_or_else(String::new, |id| id.as_str().to_owned());
        match &entry.id {
            service::Pattern::Any => all_others = Some(upstream),
            service::Pattern::One(id) => {
                let of_it = fared.remove(id.as_str()).unwrap_or_default();
                shown.push(service_row(id.as_str().to_owned(), upstream, of_it));
            }
        }
    }
    if let Some(upstream) = all_others {
        let called = fared.into_iter().filter(|(_, of_it)| of_it.calls > 0);
        shown.extend(called.map(|(id, of_it)| service_row(id, upstream.clone(), of_it)));
        shown.push(service_row("*".to_owned(), upstream, Fared::default()));
    }
    shown
}

fn service_row(id: String, upstream: String, fared: Fared) -> Service {
    Service {
        id,
        upstream,
        requests: fared.requests,
        calls: fared.calls,
        errors: fared.errors,
        mean_millis: fared.mean_upstream().map(millis),
    }
}

/// In the order of the configuration.
pub(super) fn upstreams(generation: &Generation) -> Vec<Upstream> {
    let mut found = generation.upstreams().status();
    let order = |id: &UpstreamId| generation.config().upstream.iter().position(|one| one.id == *id);
    found.sort_by_key(|upstream| order(&upstream.id));
    found.into_iter().map(upstream).collect()
}

fn upstream(status: UpstreamStatus) -> Upstream {
    Upstream {
        id: status.id.as_str().to_owned(),
        url: status.url,
        in_flight: status.in_flight,
        max_concurrent: status.max_concurrent,
        addresses: status.addresses.into_iter().map(address).collect(),
    }
}

fn address(status: AddressStatus) -> Address {
    Address {
        address: status.address,
        state: status.state,
        since: status.since,
        next_try: status.next_try,
        p50_millis: status.p50.map(millis),
        p95_millis: status.p95.map(millis),
        calls: status.calls,
        failures: status.failures,
        last_error: status.last_error.map(|(_, error)| error),
        last_error_at: status.last_error.map(|(at, _)| at),
    }
}

/// Each minute at its place, the present one last.
pub(super) fn refusals(minutes: &[Minute], now: UnixTime) -> Refusals {
    let mut requests = vec![0_u64; MINUTES];
    let mut reasons: BTreeMap<&'static str, Vec<u64>> = BTreeMap::new();
    for minute in minutes {
        let ago = usize::try_from(now.since(minute.began).as_secs() / 60).unwrap_or(usize::MAX);
        let Some(place) = MINUTES.checked_sub(ago.saturating_add(1)) else { continue };
        if let Some(counted) = requests.get_mut(place) {
            *counted = counted.saturating_add(minute.requests);
        }
        for (reason, refused) in &minute.refusals {
            let of_it = reasons.entry(reason).or_insert_with(|| vec![0; MINUTES]);
            if let Some(counted) = of_it.get_mut(place) {
                *counted = counted.saturating_add(*refused);
            }
        }
    }
    let mut reasons: Vec<Reason> =
        reasons.into_iter().map(|(reason, minutes)| Reason { reason, minutes }).collect();
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.minutes.iter().sum::<u64>()));
    Refusals { requests, reasons }
}

pub(super) fn links(minutes: &[Minute]) -> Links {
    let sum = |of: fn(&Minute) -> u64| minutes.iter().map(of).sum();
    Links {
        minted: sum(|minute| minute.links.minted),
        opened: sum(|minute| minute.links.opened),
        expired: sum(|minute| minute.links.expired),
        refused_twice: sum(|minute| minute.links.refused_twice),
    }
}

pub(super) fn near(near: Near) -> NearLimit {
    NearLimit {
        limit: near.limit.name(),
        who: near.who.to_string(),
        used_percent: near.used_percent(),
        left: near.left,
        wait_millis: near.wait.map(millis),
        burst: near.burst,
    }
}

pub(super) const fn mode(mode: limit::Mode) -> &'static str {
    match mode {
        limit::Mode::Enforce => "enforce",
        limit::Mode::Observe => "observe",
        limit::Mode::Off => "off",
    }
}

pub(super) fn key(row: &KeyRow) -> Key {
    Key {
        kind: row.r#use.word(),
        kid: row.kid.clone(),
        state: row.course.state.word(),
        created: row.course.created,
        current_since: row.course.current_since,
        superseded: row.course.superseded,
        retirable_from: row.course.retirable_from(),
    }
}

/// The certificates that this gateway shows to others. Reads their files.
pub(super) fn certificates(config: &Config, now: UnixTime) -> Vec<Certificate> {
    let public = config.listener.certificate_file.as_deref();
    let public = public.filter(|_| !config.listener.plaintext);
    let upstreams = config.upstream.iter().filter_map(|upstream| {
        let file = upstream.client_certificate_file.as_deref()?;
        Some((format!("upstream {}", upstream.id), file))
    });
    let redis = match config.state.backend {
        store::Backend::Redis => config.state.redis.certificate_file.as_deref(),
        store::Backend::Memory | store::Backend::Disk => None,
    };
    let all = public.map(|file| ("EHRs and browsers".to_owned(), file)).into_iter();
    let all = all.chain(upstreams).chain(redis.map(|file| ("Redis".to_owned(), file)));
    all.map(|(shown_to, file)| certificate(shown_to, file, now)).collect()
}

/// The first of a chain to end ends it.
fn certificate(shown_to: String, file: &Path, now: UnixTime) -> Certificate {
    let shown = Certificate {
        shown_to,
        file: file.display().to_string(),
        names: Vec::new(),
        not_after: None,
        days_left: None,
        trouble: None,
    };
    match certificate::Certificate::read_chain(file) {
        Ok(chain) => {
            let not_after = chain.iter().map(certificate::Certificate::not_after).min();
            let days = |end: UnixTime| end.since(now).as_secs() / 86_400;
            Certificate {
                names: chain.first().map(|own| own.names().to_vec()).unwrap_or_default(),
                not_after,
                days_left: not_after.map(days),
                ..shown
            }
        }
        Err(error) => Certificate { trouble: Some(error.to_string()), ..shown },
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
