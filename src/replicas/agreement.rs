//! Which replicas hold which keys, and whether they can read each other's links.

use std::cmp::Reverse;
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
    /// Whether that is longer than one that crashed would still be listed.
    pub(crate) seasoned: bool,
    pub(crate) keys: Keys,
}

/// How a replica stands among those that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Replicas there, this one included.
    pub(crate) seen: usize,
    /// Those whose keys do not go with this one's.
    pub(crate) apart: usize,
    /// Whether this one should serve: nobody apart has more replicas on its side. Of sides that are equal
    /// the one serves whose keys were there first. Only those count who have been there for a while, so
    /// that newcomers with a wrong file, and the traces of crashes, never take the service from others.
    pub(crate) serves: bool,
}

/// The standing of `instance` among `members`; `None` where it is not among them.
pub(crate) fn standing(instance: &str, members: &[Member]) -> Option<Standing> {
    let mine = members.iter().find(|member| member.instance == instance)?;
    let apart: Vec<&Member> =
        members.iter().filter(|member| !member.keys.agree(&mine.keys)).collect();
    let weight = weight(mine, members);
    let serves = apart.iter().all(|other| weight >= self::weight(other, members));
    Some(Standing { seen: members.len(), apart: apart.len(), serves })
}

/// What the side of `member` counts: its seasoned replicas, then how early the first of it was there. Two
/// sides never weigh the same: the name of that first one decides at last.
fn weight<'all>(member: &Member, all: &'all [Member]) -> (usize, Reverse<(u64, &'all str)>) {
    let side: Vec<&Member> = all.iter().filter(|other| other.keys.agree(&member.keys)).collect();
    let seasoned = side.iter().filter(|member| member.seasoned).count();
    let first = side.iter().map(|member| (member.since, member.instance.as_str())).min();
    (seasoned, Reverse(first.unwrap_or((u64::MAX, ""))))
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
        Member { instance: instance.to_owned(), since, seasoned: true, keys }
    }

    /// One that has just come.
    fn newcomer(instance: &str, since: u64, keys: Keys) -> Member {
        Member { seasoned: false, ..member(instance, since, keys) }
    }

    fn stand(instance: &str, members: &[Member]) -> (usize, usize, bool) {
        let standing = standing(instance, members).unwrap();
        (standing.seen, standing.apart, standing.serves)
    }

    fn serving(members: &[Member]) -> Vec<&str> {
        let names = members.iter().map(|member| member.instance.as_str());
        names.filter(|name| standing(name, members).unwrap().serves).collect()
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
    fn newcomers_with_other_keys_stand_back_and_nobody_else() {
        let mut members = vec![member("a", 5, keys(1, &[])), newcomer("new", 9, keys(7, &[]))];
        assert_eq!(stand("a", &members), (2, 1, true));
        assert_eq!(stand("new", &members), (2, 1, false));
        // Each with a file that it made for itself, or one that crashes and comes back.
        members.push(newcomer("new2", 10, keys(8, &[])));
        members.push(newcomer("new3", 11, keys(7, &[])));
        members.push(newcomer("new4", 12, keys(7, &[])));
        members.push(newcomer("b", 20, keys(1, &[])));
        assert_eq!(serving(&members), ["a", "b"]);
        members.iter_mut().for_each(|member| member.seasoned = true);
        assert_eq!(serving(&members), ["new", "new3", "new4"], "most have moved on");
        assert_eq!(standing("gone", &members), None);
    }

    #[test]
    fn of_replicas_that_all_have_other_keys_one_serves() {
        for seasoned in [false, true] {
            let of = |n: u8| Member { seasoned, ..member(&n.to_string(), 7, keys(n, &[])) };
            assert_eq!(serving(&[of(2), of(1), of(3)]), ["1"]);
        }
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
