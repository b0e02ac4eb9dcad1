//! The EHR's side of feedback: what it was given, and what it reports.

use bytes::Bytes;
use hookgate::demo::server::json;
use http::{Response, StatusCode};
use http_body_util::Full;
use serde_json::Value;

use crate::harness::{Arrival, Scene, hook_body_of};

/// The ids of one answer, as the EHR has them.
#[derive(Clone, Debug)]
pub(crate) struct Ids {
    pub(crate) card: String,
    pub(crate) suggestions: Vec<String>,
}

impl Scene {
    /// The ids on the first card of a call of this hookInstance.
    pub(crate) async fn ids_of(&self, hook_instance: &str) -> Ids {
        self.ids_at(&self.endpoint(), hook_instance).await
    }

    /// The same of another service.
    pub(crate) async fn ids_at(&self, endpoint: &str, hook_instance: &str) -> Ids {
        let response = self.post(endpoint, hook_body_of(hook_instance)).await;
        assert_eq!(response.status(), 200);
        let answer: Value = response.json().await.unwrap();
        let card = &answer["cards"][0];
        let suggestions = card["suggestions"].as_array().unwrap().iter();
        Ids {
            card: card["uuid"].as_str().unwrap().to_owned(),
            suggestions: suggestions.map(|s| s["uuid"].as_str().unwrap().to_owned()).collect(),
        }
    }

    /// Reports outcomes of the greeting service's cards.
    pub(crate) async fn report(&self, body: impl Into<reqwest::Body>) -> reqwest::Response {
        self.post(&self.feedback(), body).await
    }

    /// Calls of the drafts' analytics.
    pub(crate) fn analytics_url(&self, uuid: &str) -> String {
        format!("{}/analytics/{uuid}", self.endpoint())
    }

    /// What the service got beside hook calls.
    pub(crate) fn reports(&self) -> Vec<Arrival> {
        let mut arrivals = self.service.arrivals();
        arrivals.retain(is_report);
        arrivals
    }

    /// From now on the service answers reports so; hook calls get cards as ever.
    pub(crate) fn answers_reports(
        &self,
        answer: impl Fn(&Arrival) -> Response<Full<Bytes>> + Send + Sync + 'static,
    ) {
        self.service.plays(move |arrival| {
            if is_report(arrival) {
                answer(arrival)
            } else {
                json(200, crate::harness::card_with_link("https://app.example/"))
            }
        });
    }
}

fn is_report(arrival: &Arrival) -> bool {
    arrival.target.ends_with("/feedback") || arrival.target.contains("/analytics/")
}

/// An empty answer.
pub(crate) fn status(code: u16) -> Response<Full<Bytes>> {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

/// Asserts the status and the code of a refusal to an EHR.
pub(crate) async fn refused_as(response: reqwest::Response, status: u16, code: &str) {
    assert_eq!(response.status(), status);
    let outcome: Value = response.json().await.unwrap();
    assert_eq!(outcome["issue"][0]["details"]["coding"][0]["code"], code, "{outcome}");
}
