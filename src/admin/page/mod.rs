//! The status page: one document, made here, with a style and without a script.

mod view;
mod words;
mod parts;
mod attention;
mod head;
mod clients;
mod services;
mod chart;
mod refusals;
mod limits;
mod links;
mod store;
mod keys;
mod configuration;

use std::sync::LazyLock;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, StatusCode};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::admin::status::Status;

pub(crate) use crate::admin::page::view::View;

/// Colours have a contrast of at least 4.5:1 for text and 3:1 for bars in both schemes (WCAG 2.2, 1.4.3 and 1.4.11).
const STYLE: &str = include_str!("style.css");

/// The page. `mark` goes into its forms.
pub(crate) fn whole(status: &Status, view: &View, mark: &str) -> String {
    let title = if status.readiness.ready { "Ready" } else { "Not ready" };
    let content = html! {
        (head::head(status, view))
        main id="content" tabindex="-1" {
            (head::done(view))
            (attention::attention(status))
            (head::vitals(status))
            div.panels {
                (refusals::refusals(&status.refusals))
                (links::links(&status.links))
                (store::store(&status.store, status.now))
                (clients::clients(status, mark))
                (services::services(status))
                (limits::limits(&status.limits))
                (keys::certificates(&status.certificates))
                (keys::keys(&status.keys, status.now, mark))
                (configuration::configuration(&status.configuration, status.now))
                (head::journal(view))
            }
        }
        footer {
            "hookgate " (status.version) " · "
            a href="/status.json" { "The same as JSON" }
        }
    };
    document(&format!("{title} · hookgate"), view.every, &content).into_string()
}

/// The page of a request that is not answered.
pub(crate) fn refusal(status: StatusCode, why: &str) -> String {
    let title = status.canonical_reason().unwrap_or("Refused");
    let content = html! {
        main.short {
            h1 { (title) }
            p { (why) "." }
        }
    };
    document(title, None, &content).into_string()
}

fn document(title: &str, every: Option<u8>, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                @if let Some(every) = every { meta http-equiv="refresh" content=(every); }
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { (content) }
        }
    }
}

/// The `Content-Security-Policy` of every answer: this page's style, its forms to itself, in no frame.
pub(crate) fn policy() -> HeaderValue {
    static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
        let hash = STANDARD.encode(digest::digest(&digest::SHA256, STYLE.as_bytes()));
        let text = format!(
            "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; base-uri 'none'; \
             frame-ancestors 'none'"
        );
        // ASCII always is a header value; the stricter policy would only cost style and buttons.
        HeaderValue::try_from(text).unwrap_or_else(|_| {
            HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")
        })
    });
    POLICY.clone()
}

#[cfg(test)]
mod tests;
