//! Card ids, and everything somebody may do to one.
#[cfg(test)]
use super::*;

use std::collections::HashSet;

use proptest::prelude::*;

use crate::clock::ManualClock;
use crate::entropy::SeededEntropy;
use crate::keyring::Keyring;
use crate::names::{HookInstance, Tenant};

const PUBLIC: &str = "https://hookgate.example.org";
const NOW: UnixTime = UnixTime::from_secs(1_795_458_491);
const EXPIRES: UnixTime = UnixTime::from_secs(1_795_458_491 + 3600);
const HISTORY: Incarnation = Incarnation { mark: *b"history1", since: NOW };

fn ids_at(seed: u64, public_url: &str) -> CardIds {
    let clock = ManualClock::new(NOW);
    let ring = Keyring::generate(&SeededEntropy::new(seed), &clock).unwrap();
    let keyring = Arc::new(LiveKeyring::new(ring, NOW));
    CardIds::new(keyring, &public_url.parse().unwrap(), Arc::new(SeededEntropy::new(42)))
}

fn ids() -> CardIds {
    ids_at(1, PUBLIC)
}

fn client(name: &str) -> ClientId {
    ClientId::new(name).unwrap()
}

fn service(name: &str) -> ServiceId {
    ServiceId::new(name).unwrap()
}

fn binding() -> Binding {
    Binding {
        client: client("epic"),
        tenant: Some(Tenant::new("klinik-1").unwrap()),
        service: service("patient-greeting"),
        hook_instance: HookInstance(Uuid::from_u128(7)),
    }
}

const ORIGINALS: [(Kind, &str); 4] = [
    (Kind::Card, "4e0a3a1e-3283-4575-ab82-028d55fe2719"),
    (Kind::Suggestion, "urn:x:é ✓"),
    (Kind::Suggestion, ""),
    (Kind::Card, "4e0a3a1e-3283-4575-ab82-028d55fe2719"),
];

fn issue(ids: &CardIds) -> Issued {
    ids.issue(&binding(), &ORIGINALS, EXPIRES, HISTORY).unwrap()
}

fn parse(ids: &CardIds, text: &str) -> Result<CardId, IdError> {
    ids.parse(text, NOW, HISTORY)
}

fn resolve(ids: &CardIds, id: &CardId, record: &[u8]) -> Result<Original, IdError> {
    ids.resolve(id, record, &client("epic"), &service("patient-greeting"))
}

#[test]
fn what_is_issued_comes_back() {
    let ids = ids();
    let issued = issue(&ids);
    assert_eq!((issued.substitutes.len(), issued.records.len()), (4, 1));
    let record = &issued.records[0];
    for (index, (text, (kind, original))) in issued.substitutes.iter().zip(ORIGINALS).enumerate() {
        let id = parse(&ids, text).unwrap();
        assert_eq!((id.record_key(), id.index()), (record.key, index));
        assert_eq!(id.expires(), record.until);
        let found = resolve(&ids, &id, &record.value).unwrap();
        assert_eq!((found.kind, &*found.text, &found.binding), (kind, original, &binding()));
        let by_bearer =
            ids.resolve_for_bearer(&id, &record.value, &service("patient-greeting")).unwrap();
        assert!(by_bearer == found);
    }
    assert_eq!(issued.substitutes.iter().collect::<HashSet<_>>().len(), 4, "equal originals");
}

#[test]
fn a_binding_without_a_tenant_comes_back_without_one() {
    let ids = ids();
    let bare = Binding { tenant: None, ..binding() };
    let issued = ids.issue(&bare, &ORIGINALS, EXPIRES, HISTORY).unwrap();
    let id = parse(&ids, &issued.substitutes[0]).unwrap();
    assert_eq!(resolve(&ids, &id, &issued.records[0].value).unwrap().binding, bare);
}

#[test]
fn an_answer_without_ids_needs_no_record() {
    let issued = ids().issue(&binding(), &[], EXPIRES, HISTORY).unwrap();
    assert!(issued.substitutes.is_empty() && issued.records.is_empty());
}

#[test]
fn more_than_a_record_holds_makes_several() {
    let ids = ids();
    let texts: Vec<String> = (0..2500).map(|n| format!("card-{n}")).collect();
    let originals: Vec<(Kind, &str)> = texts.iter().map(|text| (Kind::Card, &**text)).collect();
    let issued = ids.issue(&binding(), &originals, EXPIRES, HISTORY).unwrap();
    assert_eq!((issued.substitutes.len(), issued.records.len()), (2500, 3));
    for place in [0, 1023, 1024, 2047, 2048, 2499] {
        let id = parse(&ids, &issued.substitutes[place]).unwrap();
        let record = issued.records.iter().find(|record| record.key == id.record_key()).unwrap();
        assert_eq!(resolve(&ids, &id, &record.value).unwrap().text, texts[place]);
    }
    let last = parse(&ids, &issued.substitutes[1023]).unwrap();
    let short = CardId { index: 1000, key: issued.records[2].key, ..last };
    assert_eq!(resolve(&ids, &short, &issued.records[2].value), Err(IdError::NoSuchIndex));
}

#[test]
fn issuing_again_draws_another_record() {
    let ids = ids();
    assert_ne!(issue(&ids).records[0].key, issue(&ids).records[0].key);
}

#[test]
fn other_spellings_of_the_same_id_are_accepted_and_other_forms_are_not() {
    let ids = ids();
    let text = issue(&ids).substitutes[0].clone();
    assert_eq!(text, text.to_lowercase());
    let same = parse(&ids, &text).unwrap();
    for spelled in [
        text.to_uppercase(),
        format!("urn:uuid:{text}"),
        format!("URN:UUID:{}", text.to_uppercase()),
    ] {
        assert_eq!(parse(&ids, &spelled), Ok(same), "{spelled}");
    }
    for other in [
        text.replace('-', ""),
        format!("{{{text}}}"),
        format!(" {text}"),
        format!("{text} "),
        format!("urn:uuid:{}", text.replace('-', "")),
        format!("urn:uuid:urn:uuid:{text}"),
        text[..35].to_owned(),
        String::new(),
        "é".repeat(18),
    ] {
        assert_eq!(parse(&ids, &other), Err(IdError::NotOurs), "{other}");
    }
}

#[test]
fn a_changed_bit_anywhere_is_refused() {
    let ids = ids();
    let good = parse_uuid(&issue(&ids).substitutes[1]).unwrap().as_u128();
    for bit in 0..128 {
        let refused = parse(&ids, &Uuid::from_u128(good ^ 1 << bit).to_string()).unwrap_err();
        let expected = match bit {
            // Key id 1 without its bit is 0, which is no id.
            62 | 63 | 76..80 | 124 => IdError::NotOurs,
            125..128 => IdError::UnknownKey,
            _ => IdError::Forged,
        };
        assert_eq!(refused, expected, "bit {bit}");
    }
}

#[test]
fn ids_of_others_are_forged() {
    let text = issue(&ids()).substitutes[0].clone();
    for other in [ids_at(2, PUBLIC), ids_at(1, "https://hookgate.example.org/cds")] {
        assert_eq!(parse(&other, &text), Err(IdError::Forged));
    }
    assert!(parse(&ids_at(1, "https://hookgate.example.org/"), &text).is_ok());
    let emptied = Incarnation { mark: *b"history2", since: NOW };
    assert_eq!(ids().parse(&text, NOW, emptied), Err(IdError::Forged));
}

#[test]
fn the_expiry_is_rounded_up_to_ten_minutes() {
    let ids = ids();
    // A boundary: 2026-11-23T18:30:00Z is a whole number of ten minutes after 2024 began.
    let boundary = 1_795_458_600_000;
    for (asked, given) in [
        (boundary - 599_999, boundary),
        (boundary - 1, boundary),
        (boundary, boundary),
        (boundary + 1, boundary + 600_000),
    ] {
        let asked = UnixTime::from_millis(asked);
        let issued = ids.issue(&binding(), &ORIGINALS, asked, HISTORY).unwrap();
        let given = UnixTime::from_millis(given);
        assert_eq!(issued.records[0].until, given);
        let at = |millis| ids.parse(&issued.substitutes[0], UnixTime::from_millis(millis), HISTORY);
        assert!(at(given.millis() - 1).is_ok());
        assert_eq!(at(given.millis()), Err(IdError::Expired));
        assert_eq!(at(u64::MAX), Err(IdError::Expired));
    }
}

#[test]
fn without_its_key_an_id_waits_no_longer_than_it_says_itself() {
    let ids = ids();
    let issued = issue(&ids);
    let good = parse_uuid(&issued.substitutes[0]).unwrap().as_u128();
    let unknown = Uuid::from_u128(good ^ 1 << 125).to_string();
    let until = issued.records[0].until;
    let at = |now| ids.parse(&unknown, now, HISTORY);
    assert_eq!(at(until.minus(std::time::Duration::from_millis(1))), Err(IdError::UnknownKey));
    assert_eq!(at(until), Err(IdError::Expired));
}

#[test]
fn an_expiry_out_of_range_is_said() {
    let ids = ids();
    let issue = |secs| ids.issue(&binding(), &ORIGINALS, UnixTime::from_secs(secs), HISTORY);
    let last = 1_704_067_200 + u64::from(Prefix::LAST_EXPIRY) * 600;
    assert!(issue(last).is_ok());
    for secs in [0, 1_704_067_199, last + 1, u64::MAX] {
        assert_eq!(issue(secs).unwrap_err(), IssueError::Expiry, "{secs}");
    }
}

#[test]
fn only_its_client_and_service_get_the_original() {
    let ids = ids();
    let issued = issue(&ids);
    let record = &issued.records[0].value;
    let id = parse(&ids, &issued.substitutes[0]).unwrap();
    let as_caller = |c, s| ids.resolve(&id, record, &client(c), &service(s)).unwrap_err();
    assert_eq!(as_caller("cerner", "patient-greeting"), IdError::OtherClient);
    assert_eq!(as_caller("epic", "other"), IdError::OtherService);
    assert_eq!(as_caller("cerner", "other"), IdError::OtherService);
    let by_bearer = ids.resolve_for_bearer(&id, record, &service("other"));
    assert_eq!(by_bearer, Err(IdError::OtherService));
}

#[test]
fn a_record_is_sealed_to_its_key() {
    let ids = ids();
    let (one, other) = (issue(&ids), issue(&ids));
    let id = parse(&ids, &one.substitutes[0]).unwrap();
    let value = one.records[0].value.to_vec();
    for word in [&b"4e0a3a1e"[..], b"klinik-1", b"epic", b"patient-greeting"] {
        assert!(!value.windows(word.len()).any(|window| window == word), "readable");
    }
    assert_eq!(resolve(&ids, &id, &other.records[0].value), Err(IdError::Corrupt), "swapped");
    for place in 0..value.len() {
        let mut bad = value.clone();
        bad[place] ^= 0x40;
        assert_eq!(resolve(&ids, &id, &bad), Err(IdError::Corrupt), "{place}");
    }
    for length in 0..value.len() {
        assert!(resolve(&ids, &id, &value[..length]).is_err(), "{length}");
    }
    let mut unknown = value;
    unknown[0] = VERSION << 4 | 9;
    assert_eq!(resolve(&ids, &id, &unknown), Err(IdError::UnknownKey));
}

#[test]
fn an_original_is_not_printed() {
    let ids = ids();
    let issued = issue(&ids);
    let id = parse(&ids, &issued.substitutes[0]).unwrap();
    let printed = format!("{:?}", resolve(&ids, &id, &issued.records[0].value).unwrap());
    assert!(!printed.contains("4e0a3a1e"), "{printed}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn garbage_is_refused(text in "(\\PC{0,60}|[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}|1[0-9a-f]{7}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})") {
        static IDS: std::sync::LazyLock<CardIds> = std::sync::LazyLock::new(ids);
        prop_assert!(parse(&IDS, &text).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_originals_come_back(texts in proptest::collection::vec((any::<bool>(), ".{0,200}"), 1..40)) {
        let ids = ids();
        let originals: Vec<(Kind, &str)> = texts
            .iter()
            .map(|(card, text)| (if *card { Kind::Card } else { Kind::Suggestion }, &**text))
            .collect();
        let issued = ids.issue(&binding(), &originals, EXPIRES, HISTORY).unwrap();
        for (text, (kind, original)) in issued.substitutes.iter().zip(&originals) {
            let id = parse(&ids, text).unwrap();
            let found = resolve(&ids, &id, &issued.records[0].value).unwrap();
            prop_assert_eq!((found.kind, &*found.text), (*kind, *original));
        }
    }
}
