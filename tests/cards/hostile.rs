//! Answers that somebody made in order to get a link past the gateway, or to stop it.

use hookgate::gateway::cards::answer::{Cards, IdEdits};
use hookgate::gateway::cards::policy::{Policy, Treatment};
use hookgate::gateway::cards::read::CardsError;
use hookgate::gateway::inspect::policy::{Policy as FhirPolicy, Settings};
use hookgate::gateway::inspect::request::{InspectError, inspect};
use hookgate::gateway::outcomes::{Outcomes, OutcomesError};
use hookgate::json::members::BadMember;
use hookgate::json::token::JsonError;

/// An answer with one card, or with one link, that has these members.
fn card(members: &str) -> String {
    format!(r#"{{"cards":[{{{members}}}]}}"#)
}

fn link(members: &str) -> String {
    card(&format!(r#""links":[{{{members}}}]"#))
}

fn error(body: &[u8]) -> Option<CardsError> {
    Cards::read(body, &Policy::default()).err()
}

fn rendered(body: &str, policy: &Policy) -> String {
    let cards = Cards::read(body.as_bytes(), policy).unwrap();
    let links: Vec<String> = (0..cards.links().len()).map(|n| format!("link{n}")).collect();
    let out = cards.render(&links, IdEdits::Keep, None).unwrap();
    String::from_utf8(out.to_vec()).unwrap()
}

#[test]
fn what_can_be_read_in_two_ways_is_an_error() {
    let twice = |name| CardsError::Member(BadMember::Duplicate(name));
    let case = |name| CardsError::Member(BadMember::Case(name));
    for (body, expected) in [
        (link(r#""url":"https://a/","url":"https://b/""#), twice("url")),
        (link(r#""url":"https://a/","u\u0072l":"https://b/""#), twice("url")),
        (link(r#""\u0075\u0072\u006c":"https://a/","url":null"#), twice("url")),
        (link(r#""url":"https://a/","URL":"https://b/""#), case("url")),
        (link(r#""Url":"https://b/""#), case("url")),
        (link(r#""url":"https://a/","type":"smart","type":"absolute""#), twice("type")),
        (link(r#""url":"https://a/","\u0074ype":"smart","type":"absolute""#), twice("type")),
        (link(r#""url":"https://a/","Type":"smart""#), case("type")),
        (link(r#""url":"https://a/","extension":{},"extension":{}"#), twice("extension")),
        (
            link(r#""url":"https://a/","extension":{"org.hookgate":1,"org.hookgate":2}"#),
            twice("org.hookgate"),
        ),
        (card(r#""links":[],"links":[{"url":"https://a/"}]"#), twice("links")),
        (card(r#""links":null,"l\u0069nks":[{"url":"https://a/"}]"#), twice("links")),
        (card(r#""Links":[{"Url":"https://a/"}]"#), case("links")),
        (card(r#""uuid":"a","uuid":"b""#), twice("uuid")),
        (card(r#""suggestions":[],"suggestions":[]"#), twice("suggestions")),
        (card(r#""suggestions":[{"uuid":"a","UUID":"b"}]"#), case("uuid")),
        (card(r#""source":{},"source":{}"#), twice("source")),
        (card(r#""source":{"url":"a","url":"b"}"#), twice("url")),
        (card(r#""detail":"a","detail":"b""#), twice("detail")),
        (r#"{"cards":[],"cards":[{"links":[{"url":"https://a/"}]}]}"#.to_owned(), twice("cards")),
        (r#"{"cards":[],"c\u0061rds":[]}"#.to_owned(), twice("cards")),
        (r#"{"cards":[],"Cards":[]}"#.to_owned(), case("cards")),
    ] {
        assert_eq!(error(body.as_bytes()), Some(expected), "{body}");
    }
}

#[test]
fn what_is_not_of_its_type_is_an_error() {
    let wrong = CardsError::WrongType;
    for (body, expected) in [
        ("[]".to_owned(), CardsError::NotCards),
        ("{}".to_owned(), CardsError::NotCards),
        ("null".to_owned(), CardsError::NotCards),
        ("\"cards\"".to_owned(), CardsError::NotCards),
        (r#"[{"cards":[]}]"#.to_owned(), CardsError::NotCards),
        (r#"{"cards":null}"#.to_owned(), CardsError::NotCards),
        (r#"{"cards":{}}"#.to_owned(), CardsError::NotCards),
        (r#"{"card":[]}"#.to_owned(), CardsError::NotCards),
        (r#"{"cards":[null]}"#.to_owned(), wrong("cards")),
        (r#"{"cards":[[]]}"#.to_owned(), wrong("cards")),
        (r#"{"cards":["https://a/"]}"#.to_owned(), wrong("cards")),
        (card(r#""links":{"url":"https://a/"}"#), wrong("links")),
        (card(r#""links":"https://a/""#), wrong("links")),
        (card(r#""links":["https://a/"]"#), wrong("links")),
        (card(r#""links":[[{"url":"https://a/"}]]"#), wrong("links")),
        (card(r#""links":[null]"#), wrong("links")),
        (link(r#""url":7"#), wrong("url")),
        (link(r#""url":["https://a/"]"#), wrong("url")),
        (link(r#""url":{"href":"https://a/"}"#), wrong("url")),
        (link(r#""url":"https://a/","type":["smart"]"#), wrong("type")),
        (link(r#""url":"https://a/","type":false"#), wrong("type")),
        (card(r#""suggestions":{}"#), wrong("suggestions")),
        (card(r#""suggestions":["a"]"#), wrong("suggestions")),
    ] {
        assert_eq!(error(body.as_bytes()), Some(expected), "{body}");
    }
    let strip = Policy {
        source_url: Treatment::Strip,
        detail_links: Treatment::Strip,
        ..Policy::default()
    };
    for (members, name) in [
        (r#""source":"https://a/""#, "source"),
        (r#""source":[{"url":"https://a/"}]"#, "source"),
        (r#""detail":["[a](https://a/)"]"#, "detail"),
    ] {
        let body = card(members);
        assert!(Cards::read(body.as_bytes(), &Policy::default()).is_ok(), "{body}");
        assert_eq!(Cards::read(body.as_bytes(), &strip).err(), Some(wrong(name)), "{body}");
    }
}

#[test]
fn what_is_not_json_is_an_error() {
    for body in [
        &b""[..],
        b" ",
        b"{",
        b"{\"cards\":[",
        b"{\"cards\":[]",
        b"{\"cards\":[]}}",
        b"{\"cards\":[]} x",
        b"{\"cards\":[]}{\"cards\":[]}",
        b"{\"cards\":[]}\0",
        b"{\"cards\":[],}",
        b"{\"cards\":[{},]}",
        b"{\"cards\":[],\"x\":NaN}",
        b"{\"cards\":[],\"x\":Infinity}",
        b"{\"cards\":[],\"x\":01}",
        b"{\"cards\":[],\"x\":'a'}",
        b"{\"cards\":[],\"x\":\"a\nb\"}",
        b"{\"cards\":[],\"x\":\"\\x41\"}",
        b"{cards:[]}",
        b"{\"cards\":[] /* */}",
        b"\xef\xbb\xbf{\"cards\":[]}",
        b"{\"cards\":[],\"x\":\"\xff\"}",
        b"{\"cards\":[],\"x\":\"\xc0\xaf\"}",
        b"{\"cards\":[],\"x\":\"\xed\xa0\x80\"}",
        b"{\"cards\":[{\"links\":[{\"url\":\"\\ud800\"}]}]}",
        b"{\"cards\":[{\"links\":[{\"url\":\"https://a/\",\"x\\ud800\":1}]}]}",
        b"{\"cards\":[{\"links\":[{\"url\":\"https://a/\",\"type\":\"\\udc00\"}]}]}",
        b"<!DOCTYPE html>",
        b"\0{\0}",
        b"\xff\xfe{\0}\0",
    ] {
        let found = error(body);
        assert!(matches!(found, Some(CardsError::Json(_))), "{body:?}: {found:?}");
    }
}

#[test]
fn depth_is_an_error_and_no_crash() {
    let open = "[".repeat(100_000);
    let objects = "{\"a\":".repeat(100_000);
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    for deep in [open.as_str(), &objects, &nested(128)] {
        for before in [
            r#"{"x":"#,
            r#"{"cards":[{"x":"#,
            r#"{"cards":[{"links":[{"appContext":"#,
            r#"{"cards":[{"suggestions":[{"actions":"#,
            r#"{"cards":[{"extension":{"x":"#,
        ] {
            let found = error(format!("{before}{deep}").as_bytes());
            assert!(matches!(found, Some(CardsError::Json(JsonError::TooDeep { .. }))), "{before}");
        }
        let policy = FhirPolicy::new(Settings::default()).unwrap();
        let request = format!(r#"{{"prefetch":{{"x":{deep}"#);
        let refused = inspect(request.as_bytes(), &policy);
        assert!(matches!(refused, Err(InspectError::Json(JsonError::TooDeep { .. }))));
        let feedback = format!(r#"{{"feedback":[{{"x":{deep}"#);
        let refused = Outcomes::read(feedback.as_bytes()).err();
        assert!(matches!(refused, Some(OutcomesError::Json(JsonError::TooDeep { .. }))));
    }
    let limit = format!(r#"{{"cards":[],"x":{}}}"#, nested(127));
    assert_eq!(rendered(&limit, &Policy::default()), limit);
    let beyond = format!(r#"{{"cards":[],"x":{}}}"#, nested(128));
    assert_eq!(error(beyond.as_bytes()), Some(JsonError::TooDeep { at: 143 }.into()));
}

#[test]
fn a_link_that_may_not_stay_goes_with_its_comma() {
    let one = |url: &str| format!(r#"{{"label":"l","url":"{url}"}}"#);
    let good = one("https://a.example/");
    let kept = one("link0");
    for bad in [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        r"java\tscript:alert(1)",
        r" \u0000javascript:alert(1)",
        r"javascript\u003aalert(1)",
        "data:text/html;base64,PHNjcmlwdD4=",
        "vbscript:msgbox",
        "file:///C:/x",
        r"\/\/evil.example/",
        r"\\\\evil.example\\x",
        "/open/x",
        "",
        "evil.example",
        "ms-word:ofe|u|https://evil.example/",
        "intent://evil.example#Intent;scheme=http;end",
    ] {
        let bad = one(bad);
        for (links, left) in [
            (format!("[{bad},{good}]"), format!("[{kept}]")),
            (format!("[{good} , {bad}]"), format!("[{kept}]")),
            (format!("[{good},{bad},{bad},{good}]"), format!("[{kept},{}]", one("link1"))),
        ] {
            let body = card(&format!(r#""x":1,"links":{links},"y":2"#));
            let wanted = card(&format!(r#""x":1,"links":{left},"y":2"#));
            assert_eq!(rendered(&body, &Policy::default()), wanted);
        }
        for (body, wanted) in [
            (format!(r#""x":1,"links":[{bad}, {bad}],"y":2"#), r#""x":1,"y":2"#),
            (format!(r#""links":[{bad}],"y":2"#), r#""y":2"#),
            (format!(r#""x":1 , "links" : [{bad}]"#), r#""x":1"#),
            (format!(r#""links":[{bad}]"#), ""),
        ] {
            assert_eq!(rendered(&card(&body), &Policy::default()), card(wanted));
        }
    }
}

#[test]
fn allowed_origins_hold_for_every_type_of_link() {
    let policy = Policy {
        allowed_origins: vec!["https://app.example".to_owned().try_into().unwrap()],
        ..Policy::default()
    };
    let links = |first: &str| {
        format!(
            r#""links":[{first}{{"url":"https://app.example/s","type":"smart"}}],"x":"https://b/""#
        )
    };
    let elsewhere = r#"{"url":"https://app.example@b/","type":"smart"},{"url":"https://b/"},"#;
    let body = card(&links(elsewhere));
    assert_eq!(rendered(&body, &policy), card(&links("")));
    let counts = Cards::read(body.as_bytes(), &policy).unwrap().counts();
    assert_eq!((counts.dropped_origin, counts.smart_kept, counts.rewritten), (2, 1, 0));
}

#[test]
fn a_type_nobody_knows_is_no_way_around() {
    for kind in [r#""absolute""#, r#""ABSOLUTE""#, r#""Smart""#, r#""smart ""#, r#""""#, "null"] {
        let body = link(&format!(r#""type":{kind},"url":"https://a/""#));
        let wanted = link(&format!(r#""type":{kind},"url":"link0""#));
        assert_eq!(rendered(&body, &Policy::default()), wanted);
    }
    for kind in [r#""smart""#, r#""sm\u0061rt""#] {
        let body = link(&format!(r#""type":{kind},"url":"https://a/""#));
        assert_eq!(rendered(&body, &Policy::default()), body);
    }
}

#[test]
fn what_looks_like_a_link_elsewhere_stays() {
    for body in [
        r#"{"cards":[]}"#.to_owned(),
        " {\n\"cards\" : [ ]\t} \r\n".to_owned(),
        r#"{"links":[{"url":"javascript:x"}],"uuid":"a","cards":[]}"#.to_owned(),
        r#"{"extension":{"cards":[{"links":[{"url":"https://a/"}]}]},"cards":[]}"#.to_owned(),
        r#"{"cards":[],"systemActions":[{"resource":{"url":"https://a/"}}]}"#.to_owned(),
        card(r#""suggestions":[{"actions":[{"resource":{"links":[{"url":"https://a/"}]}}]}]"#),
        card(r#""extension":{"links":[{"url":"https://a/"}],"url":1,"url":2}"#),
        card(r#""source":{"icon":"file:///x","topic":{"system":"https://a/"},"url":"https://a/"}"#),
        card(r#""links":[],"x":{"links":[{"url":"https://a/"}]}"#),
        card(r#""links":null,"suggestions":null,"source":null,"detail":null,"extension":null"#),
        card(r#""url":"https://a/","type":"absolute""#),
        card(r#""x":1,"x":1E+400,"x":"\ud800","x":-0,"x":0.10"#),
    ] {
        assert_eq!(rendered(&body, &Policy::default()), body);
        let cards = Cards::read(body.as_bytes(), &Policy::default()).unwrap();
        assert!(cards.is_untouched(IdEdits::Remove), "{body}");
    }
}
