//! The way to one gateway, for EHRs and browsers.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::{Certificate, Client, RequestBuilder, Response};

use crate::dice::Dice;
use crate::site::{HOST, Site};

/// Longer than any answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Reaches one of the gateways under the name that they share.
pub(crate) struct Door {
    /// Which gateway, counted from 0.
    pub(crate) gateway: usize,
    /// HTTP/1.1 and HTTP/2.
    clients: [Client; 2],
}

/// What became of a request.
pub(crate) enum Came {
    Answer(Response),
    /// No connection was to be had.
    NotSent,
    /// It may have been done, and nobody can tell.
    Lost,
}

impl Door {
    pub(crate) fn new(site: &Site, gateway: usize, port: u16) -> Self {
        let client = || {
            // What is sent twice without anybody's asking could not be judged.
            Client::builder()
                .tls_certs_only([Certificate::from_der(site.authority()).unwrap()])
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .resolve(HOST, SocketAddr::from(([127, 0, 0, 1], port)))
                .timeout(PATIENCE)
        };
        let clients = [client().http1_only().build().unwrap(), client().build().unwrap()];
        Self { gateway, clients }
    }

    /// One client or the other.
    pub(crate) fn client(&self, dice: &Dice) -> &Client {
        &self.clients[dice.below(self.clients.len())]
    }
}

/// Sends, and sorts out what came of it.
pub(crate) async fn send(request: RequestBuilder) -> Came {
    match request.send().await {
        Ok(answer) => Came::Answer(answer),
        Err(error) if error.is_connect() => Came::NotSent,
        Err(_) => Came::Lost,
    }
}
