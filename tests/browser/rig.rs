//! That the browser does what the other tests take for granted.

use fantoccini::Locator;
use hyper::header::{COOKIE, LOCATION, SET_COOKIE};
use hyper::{Method, StatusCode};

use crate::chart::reads;
use crate::driver::{Driver, JavaScript};
use crate::site::{Site, page};

const PAGE: &str = r#"<!doctype html><title>Open</title><p id="scripts">off</p>
<script>document.getElementById("scripts").textContent = "on"</script>
<form method="post"><button>Open</button></form>"#;

/// One page with one button: `POST` leads to `/known` with a cookie, which `/known` reads back.
async fn site() -> Site {
    Site::start(|request| {
        let known = request.headers().contains_key(COOKIE);
        match (request.method(), request.uri().path()) {
            (&Method::POST, "/") => {
                let mut answer = page("");
                *answer.status_mut() = StatusCode::SEE_OTHER;
                let cookie = "__Host-known=1; Secure; HttpOnly; Path=/; SameSite=Lax";
                answer.headers_mut().insert(LOCATION, "/known".parse().unwrap());
                answer.headers_mut().insert(SET_COOKIE, cookie.parse().unwrap());
                answer
            }
            (&Method::GET, "/known") if known => page("<p id=known>yes</p>"),
            (&Method::GET, "/known") => page("<p id=known>no</p>"),
            _ => page(PAGE),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_button_works_with_and_without_scripts_and_profiles_share_no_cookie() {
    let site = site().await;
    let driver = Driver::start();
    for (javascript, scripts) in [(JavaScript::On, "on"), (JavaScript::Off, "off")] {
        let browser = driver.new_session(javascript).await;
        browser.goto(&site.url("page.test", "/known")).await.expect("the page");
        reads(&browser, "#known", "no").await;

        browser.goto(&site.url("page.test", "/")).await.expect("the page");
        reads(&browser, "#scripts", scripts).await;
        let button = browser.find(Locator::Css("button")).await.expect("the button");
        button.click().await.expect("a click");
        reads(&browser, "#known", "yes").await;
        browser.close().await.expect("an end");
    }
}
