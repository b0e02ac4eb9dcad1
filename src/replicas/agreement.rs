//! Which replicas hold which keys, and whether they can read each other's links.

use std::fmt;

/// Stands for a key without telling anything of it.
pub type KeyPrint = [u8; 8];

/// The keys of one replica.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// What it seals and signs with now.
    pub current: Vec<KeyPrint>,
    /// All that it holds, the current ones included.
    pub held: Vec<KeyPrint>,
}

impl Keys {
    /// Whether each holds what the other makes new things with. Replicas in different steps of a
    /// rotation agree; those with different key files do not.
    fn agree(&self, other: &Self) -> bool {
        let holds = |one: &Self, two: &Self| two.current.iter().all(|key| one.held.contains(key));
        holds(self, other) && holds(other, self)
    }
}

/// `current;held`, each a list of hexadecimal prints.
impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, prints: &[KeyPrint]| {
            for (n, print) in prints.iter().enumerate() {
                let comma = if n == 0 { "" } else { "," };
                write!(f, "{comma}{:016x}", u64::from_be_bytes(*print))?;
            }
            Ok(())
        };
        list(f, &self.current)?;
        f.write_str(";")?;
        list(f, &self.held)
    }
}

/// What another version, or somebody else, wrote in our place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no list of prints")]
pub struct Unreadable;

impl std::str::FromStr for Keys {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let print = |text: &str| u64::from_str_radix(text, 16).map(u64::to_be_bytes);
        let list = |text: &str| {
            text.split(',').map(print).collect::<Result<_, _>>().map_err(|_| Unreadable)
        };
        let (current, held) = text.split_once(';').ok_or(Unreadable)?;
        Ok(Self { current: list(current)?, held: list(held)? })
    }
}

/// A replica, as it announced itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Drawn at its start.
    pub(crate) instance: String,
    /// Since when it has had these keys, by Redis' clock, in milliseconds.
    pub(crate) since: u64,
    pub(crate) keys: Keys,
}

/// How a replica stands among those that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Replicas there, this one included.
    pub(crate) seen: usize,
    /// Those whose keys do not go with this one's.
    pub(crate) apart: usize,
    /// Whether this one should serve: what it seals opens at more replicas than what the others seal. Of
    /// two halves, the one whose keys were there first serves, so that a newcomer with a wrong
    /// file never takes the service from those who have been there.
    pub(crate) serves: bool,
}

/// The standing of `instance` among `members`; `None` where it is not among them.
pub(crate) fn standing(instance: &str, members: &[Member]) -> Option<Standing> {
    let mine = members.iter().find(|member| member.instance == instance)?;
    let (with, apart): (Vec<&Member>, Vec<&Member>) =
        members.iter().partition(|member| member.keys.agree(&mine.keys));
    let oldest = |side: &[&Member]| side.iter().map(|member| member.since).min();
    let serves = match with.len().cmp(&apart.len()) {
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Equal => oldest(&with) <= oldest(&apart),
        std::cmp::Ordering::Less => false,
    };
    Some(Standing { seen: members.len(), apart: apart.len(), serves })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(n: u8) -> KeyPrint {
        [n; 8]
    }

    fn keys(current: u8, beside: &[u8]) -> Keys {
        let held = std::iter::once(current).chain(beside.iter().copied()).map(print).collect();
        Keys { current: vec![print(current)], held }
    }

    fn member(instance: &str, since: u64, keys: Keys) -> Member {
        Member { instance: instance.to_owned(), since, keys }
    }

    fn stand(instance: &str, members: &[Member]) -> (usize, usize, bool) {
        let standing = standing(instance, members).unwrap();
        (standing.seen, standing.apart, standing.serves)
    }

    #[test]
    fn every_step_of_a_rotation_agrees_with_the_next() {
        let steps = [keys(1, &[]), keys(1, &[2]), keys(2, &[1]), keys(2, &[])];
        for pair in steps.windows(2) {
            let members = [member("a", 1, pair[0].clone()), member("b", 2, pair[1].clone())];
            assert_eq!(stand("a", &members), (2, 0, true), "{pair:?}");
            assert_eq!(stand("b", &members), (2, 0, true), "{pair:?}");
        }
        let skipped = [member("a", 1, steps[0].clone()), member("b", 2, steps[2].clone())];
        assert_eq!(stand("a", &skipped), (2, 1, true));
        assert_eq!(stand("b", &skipped), (2, 1, false), "it seals what the other cannot open");
    }

    #[test]
    fn a_newcomer_with_other_keys_stands_back_and_nobody_else() {
        let mut members = vec![member("a", 5, keys(1, &[])), member("new", 9, keys(7, &[]))];
        assert_eq!(stand("a", &members), (2, 1, true));
        assert_eq!(stand("new", &members), (2, 1, false));
        members.push(member("b", 20, keys(1, &[])));
        assert_eq!(stand("b", &members), (3, 1, true));
        assert_eq!(stand("new", &members), (3, 2, false));
        members.push(member("c", 21, keys(7, &[])));
        members.push(member("d", 22, keys(7, &[])));
        assert_eq!(stand("a", &members), (5, 3, false), "most have moved on");
        assert_eq!(stand("new", &members), (5, 2, true));
        assert_eq!(standing("gone", &members), None);
    }

    #[test]
    fn what_is_announced_is_read_and_nothing_else_is() {
        let keys = keys(3, &[0, 255]);
        assert_eq!(keys.to_string().parse(), Ok(keys));
        for bad in ["", ";", "12", "x;1", "1;g", "1;2,", "-1;2", "11112222333344445;1"] {
            assert_eq!(bad.parse::<Keys>(), Err(Unreadable), "{bad:?}");
        }
    }
}
