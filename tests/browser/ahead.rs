//! A browser that looks ahead does not use a link up.

use serde_json::json;

use crate::chart::{Chart, arrive, click};
use crate::driver::{Driver, JavaScript};
use crate::harness::Extra;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_was_prefetched_opens_when_it_is_clicked() {
    let chart = Chart::open(&Extra::default()).await;
    let driver = Driver::start();
    for (number, name) in ["prefetch", "speculation", "prerender"].into_iter().enumerate() {
        let link = chart.link().await;
        let rules = |kind: &str| {
            let rule =
                json!({kind: [{"source": "list", "urls": [link], "eagerness": "immediate"}]});
            format!("<script type=speculationrules>{rule}</script>")
        };
        // Chromium renders ahead within a site only: localhost is the gateway's, on another port.
        let (host, head) = match name {
            "prefetch" => ("ehr.test", format!("<link rel=prefetch href='{link}'>")),
            "speculation" => ("ehr.test", rules("prefetch")),
            _ => ("localhost", rules("prerender")),
        };
        let browser = driver.new_session(JavaScript::On).await;
        let page = format!("<!doctype html><title>Chart</title>{head}<a href='{link}'>Open</a>");
        chart.ehr.shows(page);
        browser.goto(&chart.ehr.url(host, "/")).await.expect("the EHR's page");
        let times = u64::try_from(number).unwrap() + 1;
        chart.wait_for_opened(503, times).await;
        assert_eq!(chart.opened(303).await, times - 1, "{name}");
        click(&browser, "a").await;
        arrive(&browser, &chart.target()).await;
        assert_eq!(chart.opened(303).await, times, "{name}");
        browser.close().await.expect("an end");
    }
}
