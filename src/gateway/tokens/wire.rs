//! The bytes inside a seal: numbers of varying length, texts with their length before them, and times
//! counted from 2024.

use crate::clock::UnixTime;

/// 2024-01-01T00:00:00Z in Unix seconds.
const EPOCH: u64 = 1_704_067_200;

/// Seconds since 2024, rounded down; they last until 2160.
pub(crate) fn seconds(time: UnixTime) -> Option<u32> {
    u32::try_from(time.secs().checked_sub(EPOCH)?).ok()
}

/// The moment that many seconds after 2024 began.
pub(crate) const fn moment(seconds: u64) -> UnixTime {
    UnixTime::from_secs(EPOCH.saturating_add(seconds))
}

/// Milliseconds since 2024.
pub(crate) fn millis(time: UnixTime) -> Option<u64> {
    time.millis().checked_sub(EPOCH * 1000)
}

/// Seven bits a byte, the lowest first; the top bit says that more follow.
pub(crate) fn put_number(out: &mut Vec<u8>, mut number: usize) {
    while let Some(low) = u8::try_from(number & 0x7f).ok().filter(|_| number > 0x7f) {
        out.push(low | 0x80);
        number >>= 7;
    }
    out.extend(u8::try_from(number));
}

pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_number(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// Reads what the functions above wrote. `None` means that they did not.
pub(crate) struct Reader<'bytes>(&'bytes [u8]);

impl<'bytes> Reader<'bytes> {
    pub(crate) const fn new(bytes: &'bytes [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// A number below 2^28, more than anything counted here.
    pub(crate) fn number(&mut self) -> Option<usize> {
        let mut number = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            number |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    pub(crate) fn text(&mut self) -> Option<&'bytes str> {
        let length = self.number()?;
        self.text_of(length)
    }

    pub(crate) fn text_of(&mut self, length: usize) -> Option<&'bytes str> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(taken).ok()
    }

    pub(crate) const fn rest(self) -> &'bytes [u8] {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_epoch_is_where_it_says_and_lasts() {
        assert_eq!(moment(0).to_string(), "2024-01-01T00:00:00Z");
        assert_eq!(moment(u64::from(u32::MAX)).to_string(), "2160-02-07T06:28:15Z");
        assert_eq!(seconds(UnixTime::from_secs(EPOCH - 1)), None);
        assert_eq!(seconds(moment(u64::from(u32::MAX))), Some(u32::MAX));
        assert_eq!(seconds(moment(u64::from(u32::MAX) + 1)), None);
    }

    #[test]
    fn small_numbers_take_one_byte() {
        for (number, length) in [(0, 1), (127, 1), (128, 2), (16_383, 2), (16_384, 3)] {
            let mut out = Vec::new();
            put_number(&mut out, number);
            assert_eq!(out.len(), length, "{number}");
        }
        assert_eq!(Reader::new(&[0xff; 5]).number(), None);
        assert_eq!(Reader::new(&[5, b'a']).text(), None, "shorter than it says");
        assert_eq!(Reader::new(&[1, 0xff]).text(), None, "not UTF-8");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(number in 0_usize..1 << 28, text in ".{0,300}") {
            let mut out = Vec::new();
            put_number(&mut out, number);
            put_text(&mut out, &text);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.number(), Some(number));
            prop_assert_eq!(reader.text(), Some(&*text));
            prop_assert!(reader.rest().is_empty());
        }
    }
}
