//! The page with the button (`confirm = "always"`): with the keyboard alone, without scripts, in a frame.

use std::time::Duration;

use fantoccini::key::Key;

use crate::chart::{Chart, arrive, click, look_into_frame, reads};
use crate::driver::{Driver, JavaScript, logged};
use crate::harness::Extra;
use crate::measure::press;

fn always() -> Extra {
    Extra {
        lists: "[[service]]\nid = \"*\"\nlinks = { confirm = \"always\" }".to_owned(),
        ..Extra::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_keyboard_is_enough_with_and_without_scripts() {
    let chart = Chart::open(&always()).await;
    let driver = Driver::start();
    for javascript in [JavaScript::On, JavaScript::Off] {
        let (browser, link) = (driver.new_session(javascript).await, chart.link().await);
        chart.show(&browser, &format!("<a href='{link}'>Open</a>")).await;
        press(&browser, &[Key::Tab, Key::Enter]).await;
        arrive(&browser, &link).await;
        reads(&browser, "h1", "Open this link").await;
        let spent = chart.opened(303).await;
        press(&browser, &[Key::Tab, Key::Enter]).await;
        // The redirect goes to another origin: a policy that held `form-action` against it would stop here.
        arrive(&browser, &chart.target()).await;
        reads(&browser, "h1", "The application").await;
        assert_eq!(chart.opened(303).await, spent + 1);
        let console = logged(&browser, "browser").await;
        assert!(console.is_empty(), "{javascript:?}: {console:?}");
        browser.close().await.expect("an end");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn going_back_offers_the_button_again_until_the_grace_is_over() {
    let chart = Chart::open(&always()).await;
    let (link, driver) = (chart.link().await, Driver::start());
    let browser = driver.new_session(JavaScript::On).await;
    chart.show(&browser, &format!("<a href='{link}'>Open</a>")).await;
    click(&browser, "a").await;
    click(&browser, "button").await;
    arrive(&browser, &chart.target()).await;
    browser.back().await.expect("back");
    arrive(&browser, &link).await;
    click(&browser, "button").await;
    arrive(&browser, &chart.target()).await;

    browser.back().await.expect("back");
    arrive(&browser, &link).await;
    chart.scene.advance(Duration::from_secs(31));
    click(&browser, "button").await;
    reads(&browser, "h1", "This link is no longer active").await;
    assert_eq!(chart.opened(303).await, 2);
    browser.close().await.expect("an end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_frame_the_button_leads_to_another_origin() {
    let chart = Chart::open(&always()).await;
    let driver = Driver::start();
    for javascript in [JavaScript::On, JavaScript::Off] {
        let (browser, link) = (driver.new_session(javascript).await, chart.link().await);
        chart.show(&browser, &format!("<iframe src='{link}' width=320 height=400></iframe>")).await;
        look_into_frame(&browser).await;
        click(&browser, "button").await;
        browser.enter_parent_frame().await.expect("the chart");
        look_into_frame(&browser).await;
        reads(&browser, "h1", "The application").await;
        let console = logged(&browser, "browser").await;
        assert!(console.is_empty(), "{javascript:?}: {console:?}");
        browser.close().await.expect("an end");
    }
    let visits = chart.app.visits();
    assert_eq!(visits.len(), 2);
    assert!(visits.iter().all(|visit| visit.contains("launch=a+b")), "{visits:?}");
}
