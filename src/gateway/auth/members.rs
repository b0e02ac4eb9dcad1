//! A JSON object whose members are read strictly: each name once, each value of one type.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// No honest header or claims set comes near; more would make the search for repeats costly.
const MAX_MEMBERS: usize = 64;

/// The members of one object, values unread.
#[derive(Debug)]
pub(super) struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Reads `json`. A repeated member refuses the whole: readers differ on which one counts (RFC
    /// 7515 section 4, RFC 7519 section 4).
    ///
    /// # Errors
    /// Where it is not one object of at most 64 members, each with a name of its own.
    pub(super) fn parse(json: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// The value of `name`, unread.
    pub(super) fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    /// The members' names, in their order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_ref())
    }

    /// Whether there is a member `name`, whatever its value.
    pub(super) fn has(&self, name: &str) -> bool {
        self.raw(name).is_some()
    }

    /// The value of `name` as text.
    ///
    /// # Errors
    /// [`NotText`] where it is there and no string.
    pub(super) fn text(&self, name: &str) -> Result<Option<Cow<'a, str>>, NotText> {
        self.raw(name).map(|raw| text(raw).ok_or(NotText)).transpose()
    }
}

/// The value is not a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotText;

/// `raw` as text, where it is a string.
pub(super) fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Text<'_>>(raw.get()).ok().map(|Text(text)| text)
}

/// A string that stays where it is unless it has escapes in it.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with each member once")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members: Self::Value = Vec::with_capacity(8);
                while let Some(Text(name)) = map.next_key()? {
                    if members.iter().any(|(known, _)| *known == name) {
                        return Err(Error::custom("a member is repeated"));
                    }
                    if members.len() == MAX_MEMBERS {
                        return Err(Error::custom("too many members"));
                    }
                    members.push((name, map.next_value()?));
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Collect).map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_repeats_in_any_spelling() {
        assert!(Members::parse(br#"{"a":1,"b":{"a":1,"a":2}}"#).is_ok());
        for bad in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"[]"#,
            r#""a""#,
            r#"{"a":1}x"#,
            r#"{"a":1"#,
            "",
        ] {
            assert!(Members::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        let many = |n: usize| {
            let all: Vec<String> = (0..n).map(|i| format!("\"m{i}\":0")).collect();
            format!("{{{}}}", all.join(","))
        };
        assert!(Members::parse(many(64).as_bytes()).is_ok());
        assert!(Members::parse(many(65).as_bytes()).is_err());
    }

    #[test]
    fn reads_texts_only_as_texts() {
        let members = Members::parse(br#"{"a":"x\n","n":1,"z":null}"#).unwrap();
        assert_eq!(members.text("a"), Ok(Some(Cow::Borrowed("x\n"))));
        assert_eq!(members.text("n"), Err(NotText));
        assert_eq!(members.text("z"), Err(NotText));
        assert_eq!(members.text("absent"), Ok(None));
        assert!(members.has("z"));
    }
}
