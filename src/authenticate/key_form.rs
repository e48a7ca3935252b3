//! The written form of Keyway's own keys: `kw_<env>_<27 base62 digits>_<6 base62 digits>`.
//!
//! The 27 digits are 160 random bits, the 6 the CRC-32 of everything before the last `_`. The
//! prefix lets scanners find leaked keys; the checksum lets them, and the gateway, tell a key from
//! something that looks like one before it costs a hash or a lookup. Neither is a secret.

use crate::snapshot::record::Environment;

/// What a presented key looks like, before any lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Ours, checksum right.
    Native,
    /// Starts like ours but is damaged: cannot be a key.
    NativeBroken,
    /// Not ours; may have been imported.
    Foreign,
}

const PREFIX: &[u8] = b"kw_";
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 62^27 is just above 2^160.
const SECRET_DIGITS: usize = 27;
/// 62^6 is above 2^32.
const CHECKSUM_DIGITS: usize = 6;
/// `kw_live_`; `kw_test_` is as long.
const HEAD_LEN: usize = 8;
/// What the checksum covers.
const BODY_LEN: usize = HEAD_LEN + SECRET_DIGITS;
const KEY_LEN: usize = BODY_LEN + 1 + CHECKSUM_DIGITS;

/// Writes the key for 160 random bits, which the caller brings from a CSPRNG.
pub fn mint(environment: Environment, random: &[u8; 20]) -> String {
    let mut key = Vec::with_capacity(KEY_LEN);
    key.extend_from_slice(head_of(environment));
    key.extend_from_slice(&secret_digits(random));
    let checksum = checksum_digits(&key);
    key.push(b'_');
    key.extend_from_slice(&checksum);
    String::from_utf8(key).expect("prefix and base62 digits are ASCII")
}

/// Tells what `key` looks like, at constant cost and without allocation.
pub fn is_ours(key: &[u8]) -> Form {
    if !key.starts_with(PREFIX) {
        return Form::Foreign;
    }
    let Ok(key) = <&[u8; KEY_LEN]>::try_from(key) else {
        return Form::NativeBroken;
    };
    let (body, tail) = key.split_at(BODY_LEN);
    let (head, secret) = body.split_at(HEAD_LEN);
    let known = head == head_of(Environment::Live) || head == head_of(Environment::Test);
    let digits = secret.iter().all(u8::is_ascii_alphanumeric);
    if known && digits && tail[0] == b'_' && tail[1..] == checksum_digits(body) {
        Form::Native
    } else {
        Form::NativeBroken
    }
}

const fn head_of(environment: Environment) -> &'static [u8; HEAD_LEN] {
    match environment {
        Environment::Live => b"kw_live_",
        Environment::Test => b"kw_test_",
    }
}

/// `random` as one big-endian number in base 62, most significant digit first.
fn secret_digits(random: &[u8; 20]) -> [u8; SECRET_DIGITS] {
    let mut number = *random;
    let mut digits = [0; SECRET_DIGITS];
    for digit in digits.iter_mut().rev() {
        // One long division by 62, octet by octet; the remainder is the next digit.
        let mut remainder: u16 = 0;
        for octet in &mut number {
            let dividend = remainder << 8 | u16::from(*octet);
            *octet = u8::try_from(dividend / 62).expect("the remainder was below 62");
            remainder = dividend % 62;
        }
        *digit = DIGITS[usize::from(remainder)];
    }
    digits
}

fn checksum_digits(body: &[u8]) -> [u8; CHECKSUM_DIGITS] {
    let mut checksum = u64::from(crc32fast::hash(body));
    let mut digits = [0; CHECKSUM_DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[usize::try_from(checksum % 62).expect("below 62")];
        checksum /= 62;
    }
    digits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_minted_key_has_the_documented_form() {
        for (environment, random, expected) in [
            (
                Environment::Live,
                [0; 20],
                "kw_live_000000000000000000000000000_",
            ),
            (
                Environment::Test,
                [0xff; 20],
                "kw_test_aWgEPTl1tmebfsQzFP4bxwgy80V_",
            ),
        ] {
            let key = mint(environment, &random);
            let (body, checksum) = key.rsplit_once('_').unwrap();
            assert_eq!(format!("{body}_"), expected);
            assert_eq!(checksum.len(), 6);
            assert_eq!(
                base62(checksum),
                u64::from(crc32fast::hash(body.as_bytes()))
            );
            assert_eq!(is_ours(key.as_bytes()), Form::Native);
        }
    }

    #[test]
    fn the_form_is_frozen() {
        // Keys are in the hands of users: a change of form would lock them out.
        let mut random = [0; 20];
        for (octet, place) in random.iter_mut().zip(1..) {
            *octet = place;
        }
        let key = "kw_live_08umpsRGMi9hXbwR6pXWz2Ckob6_28WLMK";
        assert_eq!(mint(Environment::Live, &random), key);
    }

    #[test]
    fn what_starts_like_a_key_but_is_none_is_broken() {
        let key = mint(Environment::Live, &[7; 20]);
        let mut swapped = key.clone().into_bytes();
        swapped.swap(10, 11);
        for broken in [
            "kw_",
            "kw_live_",
            &key[..key.len() - 1],
            &format!("{key}0"),
            &format!("{key} "),
            &key.replace("live", "prod"),
            &key.replace("live", "test"),
            &key.replace("live", "LIVE"),
        ] {
            assert_eq!(is_ours(broken.as_bytes()), Form::NativeBroken, "{broken}");
        }
    }

    #[test]
    fn what_does_not_start_like_a_key_is_foreign() {
        for foreign in ["", "k", "kw", "KW_live_x", "sk_live_abc", " kw_live_"] {
            assert_eq!(is_ours(foreign.as_bytes()), Form::Foreign, "{foreign}");
        }
    }

    /// The value of base62 digits, the naive way.
    fn base62(digits: &str) -> u64 {
        digits.bytes().fold(0, |value, digit| {
            let place = DIGITS.iter().position(|known| *known == digit).unwrap();
            value * 62 + place as u64
        })
    }

    proptest! {
        #[test]
        fn every_minted_key_is_native_and_no_two_are_alike(
            one in any::<[u8; 20]>(), two in any::<[u8; 20]>(),
        ) {
            let key = mint(Environment::Live, &one);
            prop_assert_eq!(key.len(), KEY_LEN);
            prop_assert_eq!(is_ours(key.as_bytes()), Form::Native);
            prop_assert_eq!(one == two, key == mint(Environment::Live, &two));
        }

        #[test]
        fn any_single_wrong_character_is_noticed(
            random in any::<[u8; 20]>(), place in 3..KEY_LEN, wrong in any::<u8>(),
        ) {
            let mut key = mint(Environment::Test, &random).into_bytes();
            prop_assume!(key[place] != wrong);
            key[place] = wrong;
            prop_assert_eq!(is_ours(&key), Form::NativeBroken);
        }
    }
}
