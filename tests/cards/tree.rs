//! JSON texts as trees of tokens, so that a test knows what a text should have become without
//! reading it.

use proptest::prelude::*;

/// What is expected to become of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Replaced,
    Kept,
    Dropped,
}

/// A value as it is spelled.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    Token(String),
    /// The `url` of a link that is replaced.
    Url(String),
    /// A `uuid` that is replaced.
    Id(String),
    Array(Vec<Self>),
    Object(Vec<(String, Self)>),
    Link(Fate, Vec<(String, Self)>),
    Links(Vec<Self>),
}

/// Spelled out: the text as it comes, and as it should be with links and ids replaced.
#[derive(Debug, Default)]
pub(crate) struct Spelled {
    pub(crate) before: String,
    pub(crate) after: String,
    pub(crate) links: usize,
    pub(crate) ids: usize,
}

pub(crate) fn link(number: usize) -> String {
    format!("https://gate.example/open/{number}")
}

pub(crate) fn id(number: usize) -> String {
    format!("id-{number}")
}

/// Spells `node` with the blanks in turn between all tokens.
pub(crate) fn spell(node: &Node, blanks: &[&str]) -> Spelled {
    let mut out = Spelled::default();
    let mut turn = blanks.iter().cycle();
    put(node, &mut out, &mut || turn.next().copied().unwrap_or_default().to_owned());
    out
}

fn put(node: &Node, out: &mut Spelled, blank: &mut dyn FnMut() -> String) {
    let both = |out: &mut Spelled, text: &str| {
        out.before.push_str(text);
        out.after.push_str(text);
    };
    both(out, &blank());
    match node {
        Node::Token(token) => both(out, token),
        Node::Url(token) => {
            out.before.push_str(token);
            out.after.push_str(&format!("\"{}\"", link(out.links)));
            out.links += 1;
        }
        Node::Id(token) => {
            out.before.push_str(token);
            out.after.push_str(&format!("\"{}\"", id(out.ids)));
            out.ids += 1;
        }
        Node::Array(items) | Node::Links(items) => {
            both(out, "[");
            for (number, item) in items.iter().enumerate() {
                if number > 0 {
                    both(out, ",");
                }
                put(item, out, blank);
            }
            both(out, &blank());
            both(out, "]");
        }
        Node::Object(members) | Node::Link(_, members) => {
            both(out, "{");
            for (number, (name, value)) in members.iter().enumerate() {
                if number > 0 {
                    both(out, ",");
                }
                both(out, &blank());
                both(out, name);
                both(out, &blank());
                both(out, ":");
                put(value, out, blank);
            }
            both(out, &blank());
            both(out, "}");
        }
    }
    both(out, &blank());
}

const NUMBERS: [&str; 10] = [
    "0",
    "-0",
    "1e2",
    "1E+4",
    "0.10",
    "-0.0e-00",
    "123456789012345678901234567890",
    "1E-400",
    "4.000000000000000000000001",
    "7",
];
const STRINGS: [&str; 9] = [
    r#""""#,
    r#""\u0041\u00e9\/\\\"\b\f\n\r\t""#,
    r#""\ud83d\ude00 😀 é""#,
    r#""[{\"url\":\"https://not.example/\"}],""#,
    r#"",:{}[]""#,
    r#""https://not.example/""#,
    r#""a much longer text with nothing in it that would have to be escaped at all""#,
    r#""1234567\"""#,
    r#""\\""#,
];
/// Tokens that a tree of values cannot hold.
const ODD: [&str; 3] = ["1E+400", r#""\ud800""#, r#""\udc00\ud800x""#];

/// Names that are interpreted elsewhere, spelled in all ways, and twice.
const NAMES: [&str; 12] = [
    r#""url""#,
    r#""links""#,
    r#""cards""#,
    r#""uuid""#,
    r#""Url""#,
    r#""u\u0072l""#,
    r#""type""#,
    r#""suggestions""#,
    r#""""#,
    r#""x""#,
    r#""x""#,
    r#""é \ud83d\ude00""#,
];
/// Names that are interpreted nowhere.
const UNKNOWN: [&str; 6] =
    [r#""summary""#, r#""appContext""#, r#""x""#, r#""\u0078""#, r#""urls""#, r#""é""#];

/// Addresses, and whether a link with them may stay.
const ADDRESSES: [(&str, bool); 16] = [
    (r#""https://app.example""#, true),
    (r#""https:\/\/app.example\/a?b=\u0026c#d""#, true),
    (r#""HTTP:\u002f/app.example/\ud83d\ude00""#, true),
    (r#""https://user:pw@app.example:8443/a b""#, true),
    (r#"" https://app.example/\t""#, true),
    (r#""https:\\\\app.example\\a""#, true),
    (r#""""#, false),
    (r#""/a""#, false),
    (r#""//app.example/""#, false),
    (r#""javascript:alert(1)""#, false),
    (r#""JaVa\tScRiPt:alert(1)//https://app.example""#, false),
    (r#""\u0001javascript:alert(1)""#, false),
    (r#""data:text/html,x""#, false),
    (r#""file:///etc/passwd""#, false),
    (r#""https://""#, false),
    ("null", false),
];
const TYPES: [&str; 6] =
    [r#""absolute""#, r#""\u0061bsolute""#, r#""smart""#, r#""sm\u0061rt""#, r#""other""#, "null"];

fn pick(tokens: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::select(tokens).prop_map(str::to_owned)
}

/// White space of all sorts, to be used in turn.
pub(crate) fn blanks() -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(prop::sample::select(vec!["", "", " ", "\n", "\t", "\r\n  "]), 1..7)
}

/// Any value; with `odd` also one that no tree of values can hold.
pub(crate) fn value(odd: bool) -> impl Strategy<Value = Node> {
    let odd = if odd { 1 } else { 0 };
    let token = prop_oneof![
        4 => pick(&NUMBERS),
        4 => pick(&STRINGS),
        1 => pick(&["true", "false", "null"]),
        odd => pick(&ODD),
    ];
    token.prop_map(Node::Token).prop_recursive(5, 30, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Node::Array),
            prop::collection::vec((pick(&NAMES), inner), 0..4).prop_map(Node::Object),
        ]
    })
}

fn unknown(odd: bool) -> impl Strategy<Value = Vec<(String, Node)>> {
    prop::collection::vec((pick(&UNKNOWN), value(odd)), 0..3)
}

/// The members of an object in any order, with unknown ones among them.
fn members(known: Vec<(String, Node)>, odd: bool) -> impl Strategy<Value = Vec<(String, Node)>> {
    unknown(odd).prop_flat_map(move |mut unknown| {
        unknown.extend(known.clone());
        Just(unknown).prop_shuffle()
    })
}

fn name(spellings: [&str; 2], escaped: bool) -> String {
    let [plain, other] = spellings;
    if escaped { other.to_owned() } else { plain.to_owned() }
}

fn a_link(odd: bool, drops: bool) -> impl Strategy<Value = Node> {
    let stay: Vec<_> = ADDRESSES.iter().copied().filter(|(_, stays)| *stays || drops).collect();
    let parts = (
        prop::sample::select(stay),
        prop::option::of(prop::sample::select(&TYPES[..])),
        any::<bool>(),
    );
    parts.prop_flat_map(move |((address, stays), kind, escaped)| {
        let smart = kind.is_some_and(|kind| kind.contains("sm"));
        let fate = match (stays, smart) {
            (false, _) => Fate::Dropped,
            (true, true) => Fate::Kept,
            (true, false) => Fate::Replaced,
        };
        let url = if fate == Fate::Replaced {
            Node::Url(address.to_owned())
        } else {
            Node::Token(address.to_owned())
        };
        let mut known = vec![(name([r#""url""#, r#""\u0075rl""#], escaped), url)];
        known.extend(kind.map(|kind| (r#""type""#.to_owned(), Node::Token(kind.to_owned()))));
        members(known, odd).prop_map(move |members| Node::Link(fate, members))
    })
}

fn ids() -> impl Strategy<Value = Option<Node>> {
    prop_oneof![
        2 => Just(None),
        1 => pick(&[r#""""#, "7", "null", "[]"]).prop_map(|token| Some(Node::Token(token))),
        4 => pick(&[r#""a-1""#, r#""\u0061""#, r#""é\n""#]).prop_map(|token| Some(Node::Id(token))),
    ]
}

fn suggestion(odd: bool) -> impl Strategy<Value = Node> {
    (ids(), value(odd)).prop_flat_map(move |(id, actions)| {
        let mut known = vec![(r#""actions""#.to_owned(), actions)];
        known.extend(id.map(|id| (r#""uuid""#.to_owned(), id)));
        members(known, odd).prop_map(Node::Object)
    })
}

fn card(odd: bool, drops: bool) -> impl Strategy<Value = Node> {
    let links = prop::option::of(prop::collection::vec(a_link(odd, drops), 0..4));
    let suggestions = prop::option::of(prop::collection::vec(suggestion(odd), 0..3));
    let others = (prop::option::of(unknown(odd)), prop::option::of(value(odd)), any::<bool>());
    (ids(), links, suggestions, others).prop_flat_map(
        move |(id, links, suggestions, (extension, source, escaped))| {
            let links_name = name([r#""links""#, r#""lin\u006Bs""#], escaped);
            let known = [
                id.map(|id| (r#""uuid""#.to_owned(), id)),
                links.map(|links| (links_name, Node::Links(links))),
                suggestions.map(|all| (r#""suggestions""#.to_owned(), Node::Array(all))),
                extension.map(|all| (r#""extension""#.to_owned(), Node::Object(all))),
                source.map(|any| (r#""detail""#.to_owned(), any)),
            ];
            members(known.into_iter().flatten().collect(), odd).prop_map(Node::Object)
        },
    )
}

/// An answer with cards; with `drops` also with links that may not stay.
pub(crate) fn answer(odd: bool, drops: bool) -> impl Strategy<Value = Node> {
    prop::collection::vec(card(odd, drops), 0..4).prop_flat_map(move |cards| {
        let known = vec![(r#""cards""#.to_owned(), Node::Array(cards))];
        members(known, odd).prop_map(Node::Object)
    })
}

/// What an answer should mean after it has been rendered: links that may not stay are gone, and
/// replaced links and their cards say so.
pub(crate) fn expected(answer: &Node, told: &Node) -> Node {
    let Node::Object(top) = answer else { return answer.clone() };
    let mut top = top.clone();
    for (name, value) in &mut top {
        if let (r#""cards""#, Node::Array(cards)) = (name.as_str(), value) {
            cards.iter_mut().for_each(|card| *card = a_card(card, told));
        }
    }
    Node::Object(top)
}

fn a_card(card: &Node, told: &Node) -> Node {
    let Node::Object(members) = card else { return card.clone() };
    let mut out = Vec::new();
    let mut replaced = false;
    for (name, value) in members {
        let Node::Links(links) = value else {
            out.push((name.clone(), value.clone()));
            continue;
        };
        let mut left = Vec::new();
        for link in links {
            let Node::Link(fate, members) = link else { continue };
            match fate {
                Fate::Dropped => {}
                Fate::Kept => left.push(link.clone()),
                Fate::Replaced => {
                    replaced = true;
                    left.push(Node::Link(Fate::Replaced, tell(members.clone(), told)));
                }
            }
        }
        if links.is_empty() || !left.is_empty() {
            out.push((name.clone(), Node::Links(left)));
        }
    }
    Node::Object(if replaced { tell(out, told) } else { out })
}

fn tell(mut members: Vec<(String, Node)>, told: &Node) -> Vec<(String, Node)> {
    let said = ("\"org.hookgate\"".to_owned(), told.clone());
    match members.iter_mut().find(|(name, _)| name == r#""extension""#) {
        Some((_, Node::Object(extension))) => extension.push(said),
        Some(_) => {}
        None => members.push((r#""extension""#.to_owned(), Node::Object(vec![said]))),
    }
    members
}
