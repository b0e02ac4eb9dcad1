//! The least that could stand in front of a service: a proxy that checks the token's signature, issuer,
//! audience and expiry with jsonwebtoken, and passes everything on. Not a gateway; a measure for one.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;

use crate::signer::OURS;
use crate::tokens;

pub(crate) struct Bare {
    client: Client<HttpConnector, Full<Bytes>>,
    key: DecodingKey,
    validation: Validation,
    upstream: String,
}

impl Bare {
    pub(crate) fn new(upstream: String) -> Self {
        let jwk = serde_json::from_value(OURS.jwk("RS384", "RS384")).unwrap();
        let mut validation = Validation::new(Algorithm::RS384);
        validation.set_audience(&[tokens::ENDPOINT]);
        validation.set_issuer(&[tokens::ISSUER]);
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            key: DecodingKey::from_jwk(&jwk).unwrap(),
            validation,
            upstream,
        }
    }

    pub(crate) async fn handle(&self, request: Request<Full<Bytes>>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let bearer = parts.headers[AUTHORIZATION].to_str().unwrap();
        let token = bearer.strip_prefix("Bearer ").unwrap();
        jsonwebtoken::decode::<Value>(token, &self.key, &self.validation).unwrap();
        let body = body.collect().await.unwrap().to_bytes();
        let outbound = Request::post(format!("{}{}", self.upstream, parts.uri.path()))
            .header(CONTENT_TYPE, &parts.headers[CONTENT_TYPE])
            .body(Full::new(body))
            .unwrap();
        let (head, answer) = self.client.request(outbound).await.unwrap().into_parts();
        Response::from_parts(head, Full::new(answer.collect().await.unwrap().to_bytes()))
    }
}
