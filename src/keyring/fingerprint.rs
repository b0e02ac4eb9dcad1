//! What replicas compare to see whether they hold the same keys, without showing any.

use std::fmt;

use aws_lc_rs::digest;

/// Says which keys a ring has. Equal on replicas that have the same ones; nothing can be learned from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    current: [u8; 8],
    held: [u8; 8],
}

impl Fingerprint {
    /// From what stands for each key: its use, its name and a one-way mark.
    pub(crate) fn new(mut current: Vec<Vec<u8>>, mut held: Vec<Vec<u8>>) -> Self {
        // Files may have their keys in any order.
        current.sort_unstable();
        held.sort_unstable();
        Self { current: short("current", &current), held: short("held", &held) }
    }

    /// Of the keys that seal and sign now: 16 hexadecimal digits.
    pub fn current(&self) -> String {
        hex(self.current)
    }

    /// Of all keys that are held, whatever their states: 16 hexadecimal digits.
    pub fn held(&self) -> String {
        hex(self.held)
    }
}

/// `current/held`
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.current(), self.held())
    }
}

/// Of one key, from what stands for it.
pub(crate) fn print(mark: &[u8]) -> [u8; 8] {
    short("one", &[mark.to_vec()])
}

fn hex(bytes: [u8; 8]) -> String {
    format!("{:016x}", u64::from_be_bytes(bytes))
}

fn short(part: &str, keys: &[Vec<u8>]) -> [u8; 8] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(part.as_bytes());
    for key in keys {
        context.update(&u64::try_from(key.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(key);
    }
    context.finish().as_ref().first_chunk().copied().unwrap_or_default()
}
