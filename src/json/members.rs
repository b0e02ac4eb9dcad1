//! Which members of an object are understood, and that nobody can understand them otherwise.
//!
//! RFC 8259 section 4 leaves open what a duplicate name means: one parser takes the first value,
//! another the last. Widespread object mappers also take `URL` for `url`. Either would let a text mean
//! one thing here and another thing where it is going, so both are errors for the names that are
//! interpreted, and only for these.

/// A member that another reader could understand differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMember {
    /// The name stands twice in one object, perhaps once in an escaped spelling.
    #[error("{0} stands twice in one object")]
    Duplicate(&'static str),
    /// The name differs in upper and lower case only.
    #[error("{0} is spelled in another case")]
    Case(&'static str),
}

/// The interpreted names of one object, and which of them have been met. At most 32.
#[derive(Debug)]
pub struct Seen {
    names: &'static [&'static str],
    met: u32,
}

impl Seen {
    /// Nothing met yet.
    pub const fn new(names: &'static [&'static str]) -> Self {
        Self { names, met: 0 }
    }

    /// Which of the names `name` is; `None` where it is not interpreted.
    ///
    /// # Errors
    /// [`BadMember`]
    pub fn meet(&mut self, name: &str) -> Result<Option<&'static str>, BadMember> {
        let mut bit = 1;
        for known in self.names {
            if known.eq_ignore_ascii_case(name) {
                if *known != name {
                    return Err(BadMember::Case(known));
                }
                if self.met & bit != 0 {
                    return Err(BadMember::Duplicate(known));
                }
                self.met |= bit;
                return Ok(Some(known));
            }
            bit <<= 1;
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_may_come_once_in_its_own_spelling() {
        let mut seen = Seen::new(&["url", "type"]);
        assert_eq!(seen.meet("label"), Ok(None));
        assert_eq!(seen.meet("label"), Ok(None));
        assert_eq!(seen.meet("type"), Ok(Some("type")));
        assert_eq!(seen.meet("url"), Ok(Some("url")));
        assert_eq!(seen.meet("url"), Err(BadMember::Duplicate("url")));
        assert_eq!(seen.meet("Type"), Err(BadMember::Case("type")));
    }
}
