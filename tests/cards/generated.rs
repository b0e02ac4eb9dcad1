//! Properties that hold for every body.

use hookgate::clock::UnixTime;
use hookgate::gateway::cards::answer::{Cards, IdEdits};
use hookgate::gateway::cards::policy::Policy;
use hookgate::gateway::outcomes::{IdPlace, Outcomes};
use hookgate::json::scan::Scanner;
use hookgate::json::token::JsonError;
use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::tree::{Node, answer, blanks, expected, id, link, spell, value};

fn render(body: &str, announce: Option<UnixTime>) -> String {
    let cards = Cards::read(body.as_bytes(), &Policy::default()).unwrap();
    let links: Vec<String> = (0..cards.links().len()).map(link).collect();
    let ids: Vec<String> = (0..cards.ids().len()).map(id).collect();
    let out = cards.render(&links, IdEdits::Replace(&ids), announce).unwrap();
    if cards.is_untouched(IdEdits::Replace(&ids)) {
        assert_eq!(out, body);
    }
    String::from_utf8(out.to_vec()).unwrap()
}

fn reads(text: &str) -> Result<(), JsonError> {
    let mut scan = Scanner::new(text.as_bytes())?;
    scan.skip()?;
    scan.finish()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The bytes between the replaced places are the bytes that came: putting the originals back
    /// would give the body that came.
    #[test]
    fn only_links_and_ids_change(tree in answer(true, false), blanks in blanks()) {
        let spelled = spell(&tree, &blanks);
        prop_assert_eq!(render(&spelled.before, None), spelled.after);
    }

    /// Where links go and extensions are added, the answer means what it should.
    #[test]
    fn dropped_links_and_announcements_leave_the_rest_as_it_was(
        tree in answer(false, true),
        blanks in blanks(),
    ) {
        let told = Node::Token(r#"{"expiresAt":"2026-11-23T18:28:11Z","uses":1}"#.to_owned());
        let out = render(&spell(&tree, &blanks).before, Some(UnixTime::from_secs(1_795_458_491)));
        let wanted = spell(&expected(&tree, &told), &[""]).after;
        prop_assert_eq!(
            serde_json::from_str::<Value>(&out).unwrap(),
            serde_json::from_str::<Value>(&wanted).unwrap(),
        );
    }

    /// The scanner takes the same language as serde_json.
    #[test]
    fn the_scanner_and_serde_json_agree(
        tree in value(true),
        blanks in blanks(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0..3u8, slip()), 0..3),
    ) {
        let mut text: Vec<char> = spell(&tree, &blanks).before.chars().collect();
        for (place, how, what) in damage {
            let at = place.index(text.len().max(1));
            match how {
                0 => text.insert(at.min(text.len()), what),
                1 if at < text.len() => text[at] = what,
                _ if at < text.len() => drop(text.remove(at)),
                _ => {}
            }
        }
        let text: String = text.into_iter().collect();
        let theirs = serde_json::from_str::<IgnoredAny>(&text);
        prop_assert_eq!(reads(&text).is_ok(), theirs.is_ok(), "{:?}", text);
    }

    /// No bytes whatever make a reader fail otherwise than by an error.
    #[test]
    fn noise_is_an_error_at_most(noise in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Cards::read(&noise, &Policy::default());
        let _ = Outcomes::read(&noise);
    }

    /// Feedback: the parts for all upstream calls together hold each entry once, ids mapped back.
    #[test]
    fn each_entry_is_in_exactly_one_part(
        entries in prop::collection::vec((value(true), 0..3usize), 0..8),
        blanks in blanks(),
    ) {
        let number = |n: usize| Node::Id(format!("\"card{n}\""));
        let entry = |(n, (junk, _)): (usize, &(Node, usize))| Node::Object(vec![
            (r#""outcome""#.to_owned(), junk.clone()),
            (r#""card""#.to_owned(), number(n)),
        ]);
        let list: Vec<Node> = entries.iter().enumerate().map(entry).collect();
        let body = |list: Vec<Node>| Node::Object(vec![
            (r#""x""#.to_owned(), Node::Token("1e2".to_owned())),
            (r#""feedback""#.to_owned(), Node::Array(list)),
        ]);
        let spelled = spell(&body(list.clone()), &blanks);
        let outcomes = Outcomes::read(spelled.before.as_bytes()).unwrap();
        let ids: Vec<String> = (0..list.len()).map(id).collect();
        let replace = |entry: usize, place: IdPlace| match place {
            IdPlace::Card => ids.get(entry).map(String::as_str),
            IdPlace::Suggestion(_) => None,
        };
        let everything: Vec<usize> = (0..list.len()).collect();
        prop_assert_eq!(outcomes.render(&everything, replace), spelled.after.as_bytes());
        for part in 0..3 {
            let keep: Vec<usize> =
                (0..list.len()).filter(|n| entries[*n].1 == part).collect();
            let out = outcomes.render(&keep, |_, _| None);
            let read = Outcomes::read(&out).unwrap();
            let cards: Vec<&str> = read.entries().iter().map(|e| e.card()).collect();
            let wanted: Vec<String> = keep.iter().map(|n| format!("card{n}")).collect();
            prop_assert_eq!(cards, wanted);
            for (left, n) in read.entries().iter().zip(&keep) {
                prop_assert_eq!(left.fingerprint(), outcomes.entries()[*n].fingerprint());
            }
        }
    }
}

/// What may slip into a text.
fn slip() -> impl Strategy<Value = char> {
    prop::sample::select(
        "{}[],:\"\\ \n\t\u{1}\u{a0}0123-+.eEtfnul/'x\u{feff}é".chars().collect::<Vec<_>>(),
    )
}

#[test]
fn a_large_answer_comes_through() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut cards = Vec::new();
    let mut size = 0;
    while size < 1 << 20 {
        let Node::Object(members) = answer(true, false).new_tree(&mut runner).unwrap().current()
        else {
            panic!("an answer is an object");
        };
        for (name, member) in members {
            if let (r#""cards""#, Node::Array(more)) = (name.as_str(), &member) {
                size += spell(&member, &["", " "]).before.len();
                cards.extend_from_slice(more);
            }
        }
    }
    let tree = Node::Object(vec![(r#""cards""#.to_owned(), Node::Array(cards))]);
    let spelled = spell(&tree, &[" ", "\n", ""]);
    assert!(spelled.links > 500 && spelled.ids > 500);
    assert!(render(&spelled.before, None) == spelled.after);
}
