//! The 122 bits of a card id, packed into a UUID of version 8 (RFC 9562 section 5.8).
//!
//! ```text
//! kid     4  the sealing key's id
//! expiry 22  in units of ten minutes since 2024, rounded up: lasts until 2103
//! random 46  one for all ids of a record: together with the two above it names the record
//! index  10  which of the record's 1,024
//! mac    40  truncated HMAC-SHA-256 over the 82 bits above, public_url and the store's incarnation
//! ```
//!
//! Forty bits are enough for what they do. A forger needs 2^40 calls for one id to pass, each of which
//! is a rate-limited request; what passed must then name a record that exists, which is 46 bits more;
//! and the record must be the caller's own. Two records of one ten-minute slot share their random bits
//! by chance once in 2^46; the store then says that the key is taken, and another is drawn.

use uuid::Uuid;

/// Bits of each field.
const EXPIRY: u32 = 22;
const RANDOM: u32 = 46;
const INDEX: u32 = 10;
const MAC: u32 = 40;

/// Ids in one record.
pub(crate) const PER_RECORD: usize = 1 << INDEX;
/// Bytes of the truncated MAC.
pub(crate) const MAC_LEN: usize = 5;

/// What one record's ids have in common: 72 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefix {
    pub(crate) kid: u8,
    pub(crate) expiry: u32,
    pub(crate) random: u64,
}

/// The fields of one id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fields {
    pub(crate) prefix: Prefix,
    pub(crate) index: u16,
}

impl Prefix {
    /// The last expiry that has room.
    pub(crate) const LAST_EXPIRY: u32 = (1 << EXPIRY) - 1;

    /// A prefix whose random part is as many of these bits as have room.
    pub(crate) const fn new(kid: u8, expiry: u32, random: [u8; 8]) -> Self {
        Self { kid, expiry, random: u64::from_be_bytes(random) >> (u64::BITS - RANDOM) }
    }

    /// These bits, for a key or a MAC.
    pub(crate) fn bytes(self) -> [u8; 16] {
        self.bits().to_be_bytes()
    }

    fn bits(self) -> u128 {
        (u128::from(self.kid) << EXPIRY | u128::from(self.expiry)) << RANDOM
            | u128::from(self.random)
    }
}

impl Fields {
    /// The authenticated bits.
    pub(crate) fn bytes(self) -> [u8; 16] {
        self.bits().to_be_bytes()
    }

    fn bits(self) -> u128 {
        self.prefix.bits() << INDEX | u128::from(self.index)
    }

    /// The id with its MAC.
    pub(crate) fn pack(self, mac: [u8; MAC_LEN]) -> Uuid {
        let [a, b, c, d, e] = mac;
        let mac = u64::from_be_bytes([0, 0, 0, a, b, c, d, e]);
        let bits = self.bits() << MAC | u128::from(mac);
        // RFC 9562 section 5.8: 48 bits, version, 12 bits, variant, 62 bits.
        let (high, middle, low) = (bits >> 74, bits >> 62 & 0xfff, bits & low_bits(62));
        Uuid::from_u128(high << 80 | 8 << 76 | middle << 64 | 0b10 << 62 | low)
    }

    /// The fields and MAC of what may be such an id; `None` where version or variant say that it is not.
    pub(crate) fn unpack(id: Uuid) -> Option<(Self, [u8; MAC_LEN])> {
        let all = id.as_u128();
        if all >> 76 & 0xf != 8 || all >> 62 & 0b11 != 0b10 {
            return None;
        }
        let bits = (all >> 80) << 74 | (all >> 64 & 0xfff) << 62 | all & low_bits(62);
        let field = |shift: u32, width: u32| bits >> shift & low_bits(width);
        let prefix = Prefix {
            kid: u8::try_from(field(MAC + INDEX + RANDOM + EXPIRY, 4)).ok()?,
            expiry: u32::try_from(field(MAC + INDEX + RANDOM, EXPIRY)).ok()?,
            random: u64::try_from(field(MAC + INDEX, RANDOM)).ok()?,
        };
        let index = u16::try_from(field(MAC, INDEX)).ok()?;
        let [_, _, _, mac @ ..] = u64::try_from(field(0, MAC)).ok()?.to_be_bytes();
        Some((Self { prefix, index }, mac))
    }
}

const fn low_bits(count: u32) -> u128 {
    (1 << count) - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_field_comes_back_and_the_form_is_version_8(
            kid in 0_u8..16, expiry in 0..=Prefix::LAST_EXPIRY, random: [u8; 8],
            index in 0_u16..1024, mac: [u8; MAC_LEN],
        ) {
            let fields = Fields { prefix: Prefix::new(kid, expiry, random), index };
            let id = fields.pack(mac);
            prop_assert_eq!(id.get_version_num(), 8);
            prop_assert_eq!(id.get_variant(), uuid::Variant::RFC4122);
            prop_assert_eq!(Fields::unpack(id), Some((fields, mac)));
            let text = id.to_string();
            prop_assert_eq!(text.len(), 36);
            prop_assert_eq!(&text[14..15], "8");
            prop_assert!("89ab".contains(&text[19..20]));
        }
    }

    #[test]
    fn the_fields_fill_the_122_bits() {
        assert_eq!(4 + EXPIRY + RANDOM + INDEX + MAC, 122);
        let all = Fields {
            prefix: Prefix { kid: 15, expiry: Prefix::LAST_EXPIRY, random: (1 << RANDOM) - 1 },
            index: 1023,
        };
        let id = all.pack([0xff; MAC_LEN]);
        assert_eq!(id.to_string(), "ffffffff-ffff-8fff-bfff-ffffffffffff");
    }

    #[test]
    fn other_versions_and_variants_are_not_ours() {
        for text in [
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "ffffffff-ffff-4fff-bfff-ffffffffffff",
            "ffffffff-ffff-8fff-ffff-ffffffffffff",
            "ffffffff-ffff-8fff-7fff-ffffffffffff",
        ] {
            assert_eq!(Fields::unpack(text.parse().unwrap()), None, "{text}");
        }
    }
}
