//! The pages that a person may see, as a browser lays them out: narrow and wide, light and dark.

use std::time::Duration;

use fantoccini::Client;
use fantoccini::key::Key;
use serde_json::{Value, json};

use crate::chart::{Chart, arrive, look_into_frame, reads};
use crate::driver::{Driver, JavaScript, logged};
use crate::harness::{Extra, Trouble};
use crate::measure::{look, measure, picture, press};

/// How the focused element shows that it is.
const FOCUS: &str = r#"
document.querySelector("button").focus({ focusVisible: true });
const style = getComputedStyle(document.activeElement);
return [document.activeElement.tagName, style.outlineStyle, parseFloat(style.outlineWidth)];"#;

/// A little more than a link lives by default.
const LIFETIME: Duration = Duration::from_secs(3601);

struct Case {
    name: &'static str,
    extra: Extra,
    status: u16,
    heading: &'static str,
}

fn cases() -> Vec<Case> {
    let case = |name, tables: &str, lists: &str, status, heading| {
        let extra =
            Extra { tables: tables.to_owned(), lists: lists.to_owned(), ..Extra::default() };
        Case { name, extra, status, heading }
    };
    let always = "[[service]]\nid = \"*\"\nlinks = { confirm = \"always\" }";
    let once = "[limits]\nopen_address = { per_minute = 1, burst = 1 }";
    let mut down = case("store-down", "", "", 503, "This link cannot be opened right now");
    down.extra.trouble = Some(Trouble::None);
    vec![
        case("button", "", always, 200, "Open this link"),
        case("expired", "", "", 410, "This link is no longer active"),
        case("forged", "", "", 410, "This link is no longer active"),
        case("store-full", "max_entries = 1", "", 503, "This link cannot be opened right now"),
        down,
        case("limited", once, "", 429, "Please wait a moment"),
        case("missing", "", "", 404, "There is no page here"),
    ]
}

/// The address of the case's page, with everything done that leads to it.
async fn address(case: &Case, chart: &Chart) -> String {
    let link = chart.link().await;
    match case.name {
        "missing" => return format!("{}/opne/AQ", chart.scene.public_url),
        "forged" => return format!("{}x", link.split('?').next().unwrap()),
        "expired" => chart.scene.advance(LIFETIME),
        "store-down" => chart.scene.store().gets(Trouble::Down),
        "limited" => {
            assert_eq!(chart.scene.http().head(&link).send().await.unwrap().status(), 200);
        }
        _ => {}
    }
    link
}

fn check(measured: &Value, case: &Case, width: u32, scheme: &str) {
    let at = format!("{} at {width} px, {scheme}: {measured}", case.name);
    assert_eq!(measured["width"], width, "{at}");
    assert_eq!(measured["dark"], scheme == "dark", "{at}");
    assert_eq!(measured["lang"], "en", "{at}");
    assert_eq!(measured["title"], case.heading, "{at}");
    assert!(measured["overflow"].as_f64().unwrap() <= 0.0, "{at}");
    assert!(measured["smallest"].as_f64().unwrap() >= 13.0, "{at}");
    let bright = measured["paper"][0].as_f64().unwrap() > 127.0;
    assert_eq!(bright, scheme == "light", "{at}");
    let contrasts = measured["contrasts"].as_array().unwrap();
    assert!(contrasts.len() >= 4, "{at}");
    assert!(contrasts.iter().all(|pair| pair[1].as_f64().unwrap() >= 4.5), "{at}");
    // WCAG 2.2, 2.5.5: a target of 44 px.
    let buttons = measured["buttons"].as_array().unwrap();
    assert_eq!(buttons.len(), usize::from(case.status == 200), "{at}");
    assert!(buttons.iter().all(|height| height.as_f64().unwrap() >= 44.0), "{at}");
}

/// What the browser asked the network for, and everything that it complained about.
async fn check_logs(browser: &Client, case: &Case, url: &str) {
    let origin = url.split("/op").next().unwrap();
    let mut requests = 0;
    for line in logged(browser, "performance").await {
        let event: Value = serde_json::from_str(line["message"].as_str().unwrap()).unwrap();
        let event = &event["message"];
        if event["method"] == "Network.requestWillBeSent" {
            let asked = event["params"]["request"]["url"].as_str().unwrap();
            assert!(asked.starts_with(origin) && asked.contains("/op"), "{}: {asked}", case.name);
            requests += 1;
        }
    }
    assert!(requests > 0, "{}: not even the page was logged", case.name);
    for line in logged(browser, "browser").await {
        let message = line["message"].as_str().unwrap();
        // That a page's status is 4xx is said of every such page, whatever is on it.
        let status = format!("the server responded with a status of {}", case.status);
        assert!(message.contains(&status), "{}: {message}", case.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_can_be_read_everywhere() {
    let driver = Driver::start();
    for case in cases() {
        let chart = Chart::open(&case.extra).await;
        let url = address(&case, &chart).await;
        let browser = driver.new_session(JavaScript::On).await;
        logged(&browser, "performance").await;
        browser.goto(&url).await.expect("the page");
        reads(&browser, "h1", case.heading).await;
        for (width, scheme) in [(320, "light"), (320, "dark"), (1280, "light"), (1280, "dark")] {
            look(&browser, width, scheme).await;
            let measured = measure(&browser).await;
            check(&measured, &case, width, scheme);
            if case.status == 200 {
                let focus = browser.execute(FOCUS, Vec::new()).await.expect("the focus");
                assert_eq!((&focus[0], &focus[1]), (&json!("BUTTON"), &json!("solid")));
                assert!(focus[2].as_f64().unwrap() >= 2.0, "{focus}");
            }
            picture(&browser, &format!("clinician-{}-{width}-{scheme}", case.name)).await;
        }
        check_logs(&browser, &case, &url).await;
        browser.close().await.expect("an end");
    }
}

/// EHRs show links in narrow frames, of another origin than their own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_can_be_read_in_a_frame_of_the_chart() {
    let driver = Driver::start();
    for case in cases() {
        let chart = Chart::open(&case.extra).await;
        let url = address(&case, &chart).await;
        for javascript in [JavaScript::On, JavaScript::Off] {
            let browser = driver.new_session(javascript).await;
            // What is limited has had its one link by then; no other page changes by being looked at.
            chart
                .show(&browser, &format!("<iframe src='{url}' width=320 height=420></iframe>"))
                .await;
            look_into_frame(&browser).await;
            reads(&browser, "h1", case.heading).await;
            for line in logged(&browser, "browser").await {
                let message = line["message"].as_str().unwrap();
                let status = format!("the server responded with a status of {}", case.status);
                assert!(message.contains(&status), "{}: {message}", case.name);
            }
            if javascript == JavaScript::On {
                let measured = measure(&browser).await;
                assert_eq!(measured["width"], 320, "{}: {measured}", case.name);
                assert!(measured["overflow"].as_f64().unwrap() <= 0.0, "{}: {measured}", case.name);
            }
            browser.close().await.expect("an end");
        }
    }
}

/// Goes with the keyboard alone from the chart's page into its frame, where the browser looks now, and to the only
/// thing there that can be pressed; presses it, and looks at the chart again.
async fn press_in_frame(browser: &Client) {
    for _ in 0..10 {
        browser.enter_parent_frame().await.expect("the chart");
        press(browser, &[Key::Tab]).await;
        look_into_frame(browser).await;
        let focused = browser.active_element().await.expect("the focus");
        if focused.tag_name().await.expect("its kind") == "button" {
            browser.enter_parent_frame().await.expect("the chart");
            return press(browser, &[Key::Enter]).await;
        }
    }
    panic!("the keyboard does not come to the button");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_frame_the_keyboard_is_enough() {
    let always = cases().into_iter().find(|case| case.name == "button").unwrap();
    let chart = Chart::open(&always.extra).await;
    let (driver, link) = (Driver::start(), chart.link().await);
    let browser = driver.new_session(JavaScript::On).await;
    chart.show(&browser, &format!("<iframe src='{link}' width=320 height=420></iframe>")).await;
    look_into_frame(&browser).await;
    reads(&browser, "h1", "Open this link").await;
    press_in_frame(&browser).await;
    chart.wait_for_opened(303, 1).await;
    look_into_frame(&browser).await;
    reads(&browser, "h1", "The application").await;
    arrive(&browser, &chart.ehr.url("ehr.test", "/")).await;
    browser.close().await.expect("an end");
}
