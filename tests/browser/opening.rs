//! A click on a card's link: where it leads, for whom, and how long.

use std::time::Duration;

use crate::chart::{Chart, arrive, click, click_into_window, look_into_frame, reads};
use crate::driver::{Driver, JavaScript};
use crate::harness::Extra;

const GONE: &str = "This link is no longer active";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_click_leads_to_the_target_and_only_in_the_browser_that_came_first() {
    let chart = Chart::open(&Extra::default()).await;
    let (link, driver) = (chart.link().await, Driver::start());
    let anchor = format!("<a target=_blank href='{link}'>Open</a>");
    for (number, javascript) in [JavaScript::Off, JavaScript::On].into_iter().enumerate() {
        let browser = driver.new_session(javascript).await;
        chart.show(&browser, &anchor).await;
        click_into_window(&browser, "a").await;
        if number == 0 {
            arrive(&browser, &chart.target()).await;
            reads(&browser, "h1", "The application").await;
        } else {
            reads(&browser, "h1", GONE).await;
            arrive(&browser, &link).await;
            let advice = "Go back to the chart. The card will be offered again with a new link.";
            reads(&browser, "h1 + p + p", advice).await;
        }
        browser.close().await.expect("an end");
    }
    assert_eq!(chart.app.visits().len(), 1, "{:?}", chart.app.visits());
    assert_eq!((chart.opened(303).await, chart.opened(410).await), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_browser_may_come_back_within_the_grace_and_not_later() {
    let chart = Chart::open(&Extra::default()).await;
    let (link, driver) = (chart.link().await, Driver::start());
    let browser = driver.new_session(JavaScript::On).await;
    chart.show(&browser, &format!("<a href='{link}'>Open</a>")).await;
    click(&browser, "a").await;
    arrive(&browser, &chart.target()).await;
    browser.refresh().await.expect("a reload");
    arrive(&browser, &chart.target()).await;
    browser.back().await.expect("back");
    arrive(&browser, &chart.ehr.url("ehr.test", "/")).await;
    browser.forward().await.expect("forward");
    arrive(&browser, &chart.target()).await;
    browser.back().await.expect("back");
    click(&browser, "a").await;
    arrive(&browser, &chart.target()).await;
    assert_eq!(chart.opened(303).await, 2, "the second click came to the gateway too");

    chart.scene.advance(Duration::from_secs(31));
    browser.back().await.expect("back");
    click(&browser, "a").await;
    arrive(&browser, &link).await;
    reads(&browser, "h1", GONE).await;
    browser.refresh().await.expect("a reload");
    reads(&browser, "h1", GONE).await;
    browser.close().await.expect("an end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_in_the_chart_opens_it_and_may_be_reloaded_within_the_grace() {
    let chart = Chart::open(&Extra::default()).await;
    let (link, driver) = (chart.link().await, Driver::start());
    let browser = driver.new_session(JavaScript::On).await;
    chart.show(&browser, &format!("<iframe src='{link}' width=600 height=400></iframe>")).await;
    look_into_frame(&browser).await;
    reads(&browser, "h1", "The application").await;
    browser.refresh().await.expect("a reload of the chart");
    look_into_frame(&browser).await;
    reads(&browser, "h1", "The application").await;
    assert_eq!(chart.opened(303).await, 2);

    chart.scene.advance(Duration::from_secs(31));
    browser.enter_parent_frame().await.expect("the chart");
    browser.refresh().await.expect("a reload of the chart");
    look_into_frame(&browser).await;
    reads(&browser, "h1", GONE).await;
    browser.close().await.expect("an end");
}
