//! What the demo tells, step by step. Each step does the real thing and says whether it came as promised.

use std::io::{self, Write};

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::demo::client::{Client, ClientError, Got};
use crate::demo::ehr;
use crate::demo::ehr::{EhrError, SampleEhr, SigningKey};
use crate::demo::service;
use crate::demo::service::LegacyService;
use crate::demo::stage::Stage;
use crate::entropy::{Entropy, NoEntropy};
use crate::names::RequestId;

/// Why the story broke off.
#[derive(Debug, thiserror::Error)]
pub enum StoryError {
    /// Nothing can be written.
    #[error("cannot write: {0}")]
    Out(#[from] io::Error),
    /// A server did not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The sample EHR failed.
    #[error(transparent)]
    Ehr(#[from] EhrError),
    /// No id could be drawn.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
    /// An answer is no JSON.
    #[error("an answer is no JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Everybody on stage.
#[derive(Debug)]
pub struct Cast<'a> {
    /// The gateway's public URL.
    pub gateway: &'a str,
    /// Where the gateway's status page is.
    pub status_page: &'a str,
    /// The sample EHR.
    pub ehr: &'a SampleEhr,
    /// The legacy service.
    pub service: &'a LegacyService,
    /// The client that the EHR and the clinician use.
    pub client: &'a Client,
    /// The time.
    pub clock: &'a dyn Clock,
    /// Randomness for ids.
    pub entropy: &'a dyn Entropy,
}

/// A browser says so of a click (Fetch Metadata).
const NAVIGATION: [(&str, &str); 3] =
    [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"), ("accept", "text/html")];

/// More calls than the demo's limit lets through at once.
const FLOOD: usize = 40;

impl Cast<'_> {
    /// Tells the whole story.
    ///
    /// # Errors
    /// [`StoryError`] where it cannot go on. Unmet expectations are counted on the stage.
    pub async fn play<W: Write>(&self, stage: &mut Stage<W>) -> Result<(), StoryError> {
        self.discovery(stage).await?;
        self.without_token(stage).await?;
        let card = self.signed_call(stage).await?;
        self.click(stage, card.pointer("/links/0/url").and_then(Value::as_str).unwrap_or_default())
            .await?;
        self.feedback(stage, card.get("uuid").and_then(Value::as_str).unwrap_or_default()).await?;
        self.bad_tokens(stage).await?;
        self.flood(stage).await
    }

    /// What a newcomer can type, and a fresh link.
    ///
    /// # Errors
    /// [`StoryError`] where no link could be had.
    pub async fn lines_to_copy(&self) -> Result<String, StoryError> {
        let url = self.endpoint();
        let link = self.fresh_link().await?;
        let tokens = self.ehr.jwks_url().replace("/.well-known/jwks.json", "/token");
        let body = ehr::patient_view("d1577c69-dfbe-44ad-ba6d-3e05e953b2ea");
        Ok(format!(
            "\nIt stays up. The certificate is the demo's own, hence -k.\n\n\
             # the services behind the gateway\n\
             curl -sk {gateway}/cds-services; echo\n\n\
             # a token from the sample EHR, and a call with it: the card has a fresh link to open. The same\n\
             # call again is a replay; for another, take a new token\n\
             TOKEN=$(curl -s '{tokens}?aud={url}')\n\
             curl -sk {url} -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' -d '{body}'; echo\n\n\
             A link to click (your browser will warn about the certificate). It works once, within an hour; the\n\
             browser that opened it may come back for 30 seconds, all others get a page that says so:\n{link}\n\n\
             What the operator sees of all this, on this machine only:\n{status_page}\n\n\
             Ctrl-C ends it.",
            gateway = self.gateway,
            status_page = self.status_page,
        ))
    }

    /// A link on a fresh card. The flood may have used the limit up: it says how long to wait.
    async fn fresh_link(&self) -> Result<String, StoryError> {
        let url = self.endpoint();
        loop {
            let token = self.token(&url)?;
            let got = self.post(&url, Some(&token), ehr::patient_view(&self.new_id()?)).await?;
            if got.status == StatusCode::TOO_MANY_REQUESTS {
                let wait = got.field("retry-after").parse().unwrap_or(1);
                self.clock.sleep(std::time::Duration::from_secs(wait)).await;
                continue;
            }
            return Ok(text(&first_card(&got)?, "/links/0/url"));
        }
    }

    fn endpoint(&self) -> String {
        format!("{}/cds-services/{}", self.gateway, service::ID)
    }

    fn new_id(&self) -> Result<String, StoryError> {
        Ok(RequestId::new(self.clock.now(), self.entropy)?.to_string())
    }

    fn token(&self, audience: &str) -> Result<String, StoryError> {
        Ok(self.ehr.token(audience, self.clock.now(), &self.new_id()?)?)
    }

    async fn post(&self, url: &str, token: Option<&str>, body: String) -> Result<Got, StoryError> {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let mut fields = vec![("content-type", "application/json")];
        fields.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
        Ok(self.client.send(Method::POST, url, &fields, body).await?)
    }

    async fn discovery<W: Write>(&self, stage: &mut Stage<W>) -> Result<(), StoryError> {
        stage.step("The EHR asks which services there are")?;
        stage.say("hookgate stands at the public URL with TLS; the legacy service behind it is unchanged.")?;
        let url = format!("{}/cds-services", self.gateway);
        let got = self.client.send(Method::GET, &url, &[], Bytes::new()).await?;
        stage.show("GET", &url)?;
        let document: Value = serde_json::from_slice(&got.body)?;
        let id = document.pointer("/services/0/id").and_then(Value::as_str).unwrap_or_default();
        stage.expect(&format!("{} and the service {id:?}", got.status), id == service::ID)?;
        Ok(())
    }

    async fn without_token<W: Write>(&self, stage: &mut Stage<W>) -> Result<(), StoryError> {
        stage.step("Somebody calls the service without a token")?;
        let body = ehr::patient_view(&self.new_id()?);
        let direct = self
            .post(
                &format!("{}/cds-services/{}", self.service.url(), service::ID),
                None,
                body.clone(),
            )
            .await?;
        stage.expect(
            &format!("the legacy service itself answers {}: it asks nobody", direct.status),
            direct.status == StatusCode::OK,
        )?;
        let got = self.post(&self.endpoint(), None, body).await?;
        stage.expect(
            &format!("through hookgate: {}", got.status),
            got.status == StatusCode::UNAUTHORIZED,
        )?;
        stage.show("body", &got.text())?;
        Ok(())
    }

    async fn signed_call<W: Write>(&self, stage: &mut Stage<W>) -> Result<Value, StoryError> {
        stage.step("The EHR calls the service with a signed token")?;
        let hook_instance = self.new_id()?;
        let body = ehr::patient_view(&hook_instance);
        let direct = self
            .post(
                &format!("{}/cds-services/{}", self.service.url(), service::ID),
                None,
                body.clone(),
            )
            .await?;
        let before = first_card(&direct)?;
        let token = self.token(&self.endpoint())?;
        stage.say(
            "ES384, kid and jku in the header; iss, aud, exp, iat, jti as CDS Hooks 2.0 asks for.",
        )?;
        let got = self.post(&self.endpoint(), Some(&token), body).await?;
        let after = first_card(&got)?;
        stage.expect(&format!("{} and a card", got.status), got.status == StatusCode::OK)?;
        stage.say("The card as the legacy service made it:")?;
        stage.show("  link", &text(&before, "/links/0/url"))?;
        stage.show("  uuid", &text(&before, "/uuid"))?;
        stage.say("The card as the EHR gets it:")?;
        stage.show("  link", &text(&after, "/links/0/url"))?;
        stage.show("  uuid", &text(&after, "/uuid"))?;
        stage.show("  until", &text(&after, "/extension/org.hookgate/expiresAt"))?;
        let hidden = !got.text().contains(service::SESSION) && !got.text().contains(service::CARD);
        stage.expect("the credential and the service's own ids are not in it", hidden)?;
        Ok(after)
    }

    async fn click<W: Write>(&self, stage: &mut Stage<W>, link: &str) -> Result<(), StoryError> {
        stage.step("The clinician clicks the link")?;
        let head = self.client.send(Method::HEAD, link, &[], Bytes::new()).await?;
        stage.expect(
            &format!("a scanner's HEAD gets {} and spends nothing", head.status),
            head.status.is_success(),
        )?;
        let got = self.client.send(Method::GET, link, &NAVIGATION, Bytes::new()).await?;
        let target = got.field("location").to_owned();
        stage.expect(
            &format!("{} to {target}", got.status),
            got.status == StatusCode::SEE_OTHER && target.contains(service::SESSION),
        )?;
        let page = self
            .client
            .send(Method::GET, target.split('#').next().unwrap_or_default(), &[], Bytes::new())
            .await?;
        stage.expect("the app behind it knows the session", page.status == StatusCode::OK)?;
        let cookie = got.field("set-cookie").split(';').next().unwrap_or_default().to_owned();

        stage.step("The same link once more")?;
        let mut same = NAVIGATION.to_vec();
        same.push(("cookie", &cookie));
        let again = self.client.send(Method::GET, link, &same, Bytes::new()).await?;
        stage.expect(
            &format!("the same browser reloads within the grace: {}", again.status),
            again.status == StatusCode::SEE_OTHER,
        )?;
        let other = self.client.send(Method::GET, link, &NAVIGATION, Bytes::new()).await?;
        stage
            .expect(&format!("anybody else: {}", other.status), other.status == StatusCode::GONE)?;
        Ok(())
    }

    async fn feedback<W: Write>(&self, stage: &mut Stage<W>, uuid: &str) -> Result<(), StoryError> {
        stage.step("The EHR sends feedback about the card")?;
        let url = format!("{}/feedback", self.endpoint());
        let body = json!({"feedback": [{
            "card": uuid, "outcome": "overridden",
            "outcomeTimestamp": self.clock.now().to_string(),
        }]})
        .to_string();
        stage.show("EHR sends     ", &body)?;
        let got = self.post(&url, Some(&self.token(&url)?), body.clone()).await?;
        let arrived = self.deliveries();
        let last = arrived.last();
        stage.show("service gets  ", last.map_or("nothing", |a| a.body.as_str()))?;
        stage.show(
            "with hookInstance",
            last.and_then(|a| a.hook_instance.as_deref()).unwrap_or("none"),
        )?;
        let mapped =
            last.is_some_and(|a| a.body.contains(service::CARD) && a.hook_instance.is_some());
        stage.expect(
            &format!("{}, with the service's own card id", got.status),
            got.status.is_success() && mapped,
        )?;
        let got = self.post(&url, Some(&self.token(&url)?), body).await?;
        let once = self.deliveries().len() == arrived.len();
        stage.expect(
            &format!("the same entry repeated: {}, and not delivered again", got.status),
            got.status.is_success() && once,
        )?;
        Ok(())
    }

    fn deliveries(&self) -> Vec<service::Arrival> {
        self.service.arrivals().into_iter().filter(|a| a.path.ends_with("/feedback")).collect()
    }

    async fn bad_tokens<W: Write>(&self, stage: &mut Stage<W>) -> Result<(), StoryError> {
        stage.step("Tokens that are refused")?;
        stage.say("Outside every one gets the same bare 401; the log has the exact reason.")?;
        let url = self.endpoint();
        let now = self.clock.now();
        let stranger = SigningKey::generate(ehr::KID)?;
        let forged = stranger.sign(&self.ehr.claims(&url, now, &self.new_id()?), None)?;
        let past = now.minus(std::time::Duration::from_secs(3600));
        let expired = self.ehr.token(&url, past, &self.new_id()?)?;
        let elsewhere = self.token("https://elsewhere.example/cds-services/x")?;
        let good = self.token(&url)?;
        let first = self.post(&url, Some(&good), ehr::patient_view(&self.new_id()?)).await?;
        stage.expect(
            &format!("a good one, for comparison: {}", first.status),
            first.status == StatusCode::OK,
        )?;
        for (what, token) in [
            ("forged: another key under the same kid", forged),
            ("expired an hour ago", expired),
            ("addressed to somebody else", elsewhere),
            ("the good one, used a second time", good),
        ] {
            let got = self.post(&url, Some(&token), ehr::patient_view(&self.new_id()?)).await?;
            stage.expect(
                &format!("{what}: {}", got.status),
                got.status == StatusCode::UNAUTHORIZED,
            )?;
        }
        Ok(())
    }

    async fn flood<W: Write>(&self, stage: &mut Stage<W>) -> Result<(), StoryError> {
        stage.step("A client that calls too often")?;
        let url = self.endpoint();
        for count in 1..=FLOOD {
            let token = self.token(&url)?;
            let got = self.post(&url, Some(&token), ehr::patient_view(&self.new_id()?)).await?;
            if got.status == StatusCode::TOO_MANY_REQUESTS {
                let wait = got.field("retry-after");
                stage.expect(
                    &format!("call {count} in a row: {}, Retry-After: {wait}", got.status),
                    !wait.is_empty(),
                )?;
                return Ok(());
            }
        }
        stage.expect("a limit was met", false)?;
        Ok(())
    }
}

fn first_card(got: &Got) -> Result<Value, StoryError> {
    let answer: Value = serde_json::from_slice(&got.body)?;
    Ok(answer.pointer("/cards/0").cloned().unwrap_or_default())
}

fn text(card: &Value, pointer: &str) -> String {
    card.pointer(pointer).and_then(Value::as_str).unwrap_or("none").to_owned()
}
