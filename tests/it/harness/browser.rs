//! The clinician's side: who clicks, and what a click answered.

use http::HeaderMap;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;

use crate::harness::{Scene, hook_body, keep_cookie};

/// Rates that no test reaches by accident.
pub(crate) const NO_LIMITS: &str = "[limits]\nmode = \"off\"\n";

impl Scene {
    /// A request for a link by somebody who says nothing about himself.
    pub(crate) fn bare(&self, method: Method, link: &str) -> RequestBuilder {
        self.http().request(method, link)
    }

    /// A person who clicks in a browser of her own.
    pub(crate) fn click(&self, link: &str) -> RequestBuilder {
        self.bare(Method::GET, link)
            .header("accept", "text/html,application/xhtml+xml,*/*;q=0.8")
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-dest", "document")
    }

    /// The first link of a fresh answer.
    pub(crate) async fn link(&self) -> String {
        self.cards().await["cards"][0]["links"][0]["url"].as_str().unwrap().to_owned()
    }

    /// All links of a fresh answer.
    pub(crate) async fn links(&self) -> Vec<String> {
        let answer = self.post(&self.endpoint(), hook_body()).await;
        let answer: Value = answer.json().await.unwrap();
        let links = answer["cards"].as_array().unwrap().iter().flat_map(|card| {
            let links = card["links"].as_array().cloned().unwrap_or_default();
            links.into_iter().map(|link| link["url"].as_str().unwrap().to_owned())
        });
        links.collect()
    }

    /// How often a refusal had this reason.
    pub(crate) async fn refused(&self, way: &str, reason: &str) -> u64 {
        let sample = format!("hookgate_refusals_total{{way=\"{way}\",reason=\"{reason}\"}} ");
        let text = self.metrics().await;
        let value = text.lines().find_map(|line| line.strip_prefix(&sample));
        value.map_or(0, |value| value.parse().unwrap())
    }
}

/// Cards with one link to each of `targets`, and no ids.
pub(crate) fn card_with_links(targets: &[&str]) -> String {
    let links: Vec<Value> = targets
        .iter()
        .map(|url| serde_json::json!({"label": "open", "url": url, "type": "absolute"}))
        .collect();
    serde_json::json!({"cards": [{
        "summary": "s", "indicator": "info", "source": {"label": "l"}, "links": links,
    }]})
    .to_string()
}

/// Where an answer leads; `None` where nowhere.
pub(crate) fn location(response: &Response) -> Option<&str> {
    response.headers().get("location").map(|value| value.to_str().unwrap())
}

/// The cookie that an answer sets, as a browser sends it back.
pub(crate) fn cookie(response: &Response) -> String {
    let set = response.headers()["set-cookie"].to_str().unwrap();
    let cookie = set.split(';').next().unwrap().to_owned();
    keep_cookie(&cookie);
    cookie
}

/// Asserts that the link opened, and gives the cookie.
#[track_caller]
pub(crate) fn opened(response: &Response, target: &str) -> String {
    assert_eq!(response.status(), 303);
    assert_eq!(location(response), Some(target));
    cookie(response)
}

/// Asserts that the link did not open, and that nothing was given away.
#[track_caller]
pub(crate) fn gone(response: &Response) {
    assert_eq!(response.status(), 410);
    assert_eq!(location(response), None);
    assert!(!response.headers().contains_key("set-cookie"));
}

/// All that can be seen of an answer, with what names the single request left out.
pub(crate) async fn to_the_eye(response: Response) -> (u16, HeaderMap, String) {
    let status = response.status().as_u16();
    let mut headers = response.headers().clone();
    let id = headers.remove("x-request-id").unwrap().to_str().unwrap().to_owned();
    headers.remove("date");
    let body = response.text().await.unwrap();
    (status, headers, body.replace(&id, "{id}"))
}
