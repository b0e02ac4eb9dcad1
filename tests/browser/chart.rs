//! A clinician's screen: an EHR's page with a card's link on it, the gateway, and the application behind
//! the link, each of an origin of its own.

use std::time::Duration;

use fantoccini::{Client, Locator};
use hookgate::demo::server::json;

use crate::harness::{Extra, Scene, card_with_link};
use crate::site::Site;

/// What the service's link carries, and what the page behind it is.
const TARGET: &str = "/chart?key=s3cret#latest";
/// What EHRs append to links.
const APPENDED: &str = "iss=https%3A%2F%2Fehr.example.org%2Ffhir&launch=a+b";
const APP: &str =
    "<!doctype html><html lang=en><title>The application</title><h1>The application</h1>";
/// How long a browser may take before a test gives up. Nothing is measured by it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Everybody but the browser.
pub(crate) struct Chart {
    pub(crate) scene: Scene,
    pub(crate) ehr: Site,
    pub(crate) app: Site,
}

impl Chart {
    /// A gateway with these additions to its configuration.
    pub(crate) async fn open(extra: &Extra) -> Self {
        let scene = Scene::new(extra).await;
        let (ehr, app) = (Site::with_page("").await, Site::with_page(APP).await);
        let target = app.url("app.test", TARGET);
        scene.service.plays(move |_| json(200, card_with_link(&target)));
        Self { scene, ehr, app }
    }

    /// The link of a fresh card, with what the EHR appends.
    pub(crate) async fn link(&self) -> String {
        let cards = self.scene.cards().await;
        format!("{}?{APPENDED}", cards["cards"][0]["links"][0]["url"].as_str().unwrap())
    }

    /// Where that link leads.
    pub(crate) fn target(&self) -> String {
        self.app.url("app.test", &TARGET.replace('#', &format!("&{APPENDED}#")))
    }

    /// Goes to an EHR page with this body.
    pub(crate) async fn show(&self, browser: &Client, body: &str) {
        self.ehr.shows(format!("<!doctype html><html lang=en><title>Chart</title>{body}"));
        browser.goto(&self.ehr.url("ehr.test", "/")).await.expect("the EHR's page");
    }

    /// How often `/open/…` was answered with this status.
    pub(crate) async fn opened(&self, status: u16) -> u64 {
        let metrics = self.scene.metrics().await;
        let of_opening = metrics.lines().filter(|line| {
            line.starts_with("hookgate_requests_total{")
                && line.contains("way=\"open\"")
                && line.contains(&format!("status=\"{status}\""))
        });
        of_opening.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    /// Waits until `/open/…` was answered with this status so often.
    pub(crate) async fn wait_for_opened(&self, status: u16, times: u64) {
        let came = tokio::time::timeout(PATIENCE, async {
            while self.opened(status).await < times {
                tokio::task::yield_now().await;
            }
        });
        if came.await.is_err() {
            panic!("no {times} answers of {status}:\n{}", self.scene.metrics().await);
        }
    }
}

/// Waits until the first such element has this text.
pub(crate) async fn reads(browser: &Client, selector: &str, expected: &str) {
    let mut last = String::new();
    let read = tokio::time::timeout(PATIENCE, async {
        while last != expected {
            // Between two pages there may be no element, or one that is going away.
            if let Ok(element) = browser.find(Locator::Css(selector)).await {
                last = element.text().await.unwrap_or_default();
            }
        }
    });
    if read.await.is_err() {
        let page = browser.source().await.unwrap_or_default();
        panic!("{selector} reads {last:?}, not {expected:?}:\n{page}");
    }
}

/// Clicks the first such element.
pub(crate) async fn click(browser: &Client, selector: &str) {
    let element = browser.wait().at_most(PATIENCE).for_element(Locator::Css(selector)).await;
    let element = element.unwrap_or_else(|error| panic!("{selector}: {error}"));
    element.click().await.unwrap_or_else(|error| panic!("{selector}: {error}"));
}

/// Waits until the window shows this address.
pub(crate) async fn arrive(browser: &Client, url: &str) {
    let expected = url.parse().expect("an address");
    if browser.wait().at_most(PATIENCE).for_url(&expected).await.is_err() {
        let here = browser.current_url().await.expect("an address");
        panic!("it went to {here}, not to {url}:\n{}", browser.source().await.unwrap_or_default());
    }
}

/// Clicks what opens a second window, and looks at that.
pub(crate) async fn click_into_window(browser: &Client, selector: &str) {
    let first = browser.window().await.expect("a window");
    click(browser, selector).await;
    let opened = tokio::time::timeout(PATIENCE, async {
        loop {
            let windows = browser.windows().await.expect("the windows");
            if let Some(second) = windows.into_iter().find(|window| *window != first) {
                return second;
            }
        }
    });
    let second = opened.await.expect("a second window");
    browser.switch_to_window(second).await.expect("the window");
}

/// Looks into the page's frame, so that what follows is about its page.
pub(crate) async fn look_into_frame(browser: &Client) {
    let frame = browser.find(Locator::Css("iframe")).await.expect("the frame");
    frame.enter_frame().await.expect("its page");
}
