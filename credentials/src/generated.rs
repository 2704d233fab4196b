//! Generated credentials, in a format that can be recognised and checked offline.
//!
//! The format is `kc_`, 32 random bytes as 43 base62 digits, and the CRC-32 of those 43 characters as 6 base62 digits,
//! as in GitHub's tokens. Scanners can find leaked ones by the prefix, and the checksum catches typos.

const PREFIX: &str = "kc_";
/// In GitHub's order.
const ALPHABET: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Enough for 32 bytes: 62^43 is just above 2^256.
const RANDOM_DIGITS: usize = 43;
/// Enough for a CRC-32: 62^6 is above 2^32.
const CHECK_DIGITS: usize = 6;

/// The credential for these random bytes, to be shown once and never stored.
pub fn generate(random: &[u8; 32]) -> String {
    let digits = base62(random, RANDOM_DIGITS);
    let check = check_digits(&digits);
    format!("{PREFIX}{digits}{check}")
}

fn check_digits(digits: &str) -> String {
    base62(&crc32fast::hash(digits.as_bytes()).to_be_bytes(), CHECK_DIGITS)
}

/// Encodes a big-endian number, left-padded with zeros to `length` digits.
fn base62(bytes: &[u8], length: usize) -> String {
    let digits = base_x::encode(ALPHABET, bytes);
    // The encoder writes a zero for each leading zero byte; the padding replaces them.
    format!("{:0>length$}", digits.trim_start_matches('0'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Credential;

    /// Recognises credentials the way a scanner for leaks would.
    fn is_well_formed(text: &str) -> bool {
        let Some(digits) = text.strip_prefix(PREFIX) else { return false };
        digits.len() == RANDOM_DIGITS + CHECK_DIGITS
            && digits.bytes().all(|byte| ALPHABET.as_bytes().contains(&byte))
            && check_digits(&digits[..RANDOM_DIGITS]) == digits[RANDOM_DIGITS..]
    }

    #[test]
    fn the_format_is_stable() {
        // python3: zlib.crc32(b"0" * 43) and the usual conversion to base 62.
        assert_eq!(generate(&[0; 32]), format!("kc_{}2CZclj", "0".repeat(43)));
        assert_eq!(generate(&[0xff; 32]), "kc_yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp13sRzl1");
    }

    proptest! {
        #[test]
        fn every_generated_credential_is_well_formed_and_of_one_length(random: [u8; 32]) {
            let text = generate(&random);
            prop_assert_eq!(text.len(), 52);
            prop_assert!(is_well_formed(&text));
            prop_assert!(Credential::new(text).is_ok());
        }

        #[test]
        fn the_checksum_catches_a_wrong_character(random: [u8; 32], place in 3_usize..52, digit in 0_usize..62) {
            let text = generate(&random);
            let mut bytes = text.clone().into_bytes();
            bytes[place] = ALPHABET.as_bytes()[digit];
            let typed = String::from_utf8(bytes).unwrap();
            prop_assert_eq!(is_well_formed(&typed), typed == text);
        }
    }

    #[test]
    fn other_texts_are_not_well_formed() {
        let text = generate(&[7; 32]);
        for other in ["", "kc_", &text[3..], &text[..51], &format!("{text}0"), &text.to_uppercase(), "kc_ü"]
        {
            assert!(!is_well_formed(other), "{other}");
        }
    }
}
