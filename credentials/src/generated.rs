//! Credentials that the service makes itself, in a form that can be recognised and checked without asking anyone.
//!
//! `kc_`, then 32 random bytes as 43 base62 digits, then the CRC-32 of those 43 characters as 6 base62 digits, as in
//! GitHub's tokens: the prefix lets scanners find a leaked one, the check characters tell it from a typing error.

const PREFIX: &str = "kc_";
/// GitHub's order of digits.
const ALPHABET: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// What 32 bytes need: 62^43 is just above 2^256.
const RANDOM_DIGITS: usize = 43;
/// What a CRC-32 needs.
const CHECK_DIGITS: usize = 6;

/// The text of the credential for these random bytes: to be shown once and forgotten.
pub fn generate(random: &[u8; 32]) -> String {
    let digits = base62(random, RANDOM_DIGITS);
    let check = check_digits(&digits);
    format!("{PREFIX}{digits}{check}")
}

/// Whether a text has the form of a generated credential, check characters and all. Says nothing of its being issued.
pub fn is_well_formed(text: &str) -> bool {
    let Some(digits) = text.strip_prefix(PREFIX) else { return false };
    digits.len() == RANDOM_DIGITS + CHECK_DIGITS
        && digits.bytes().all(|byte| ALPHABET.as_bytes().contains(&byte))
        && check_digits(&digits[..RANDOM_DIGITS]) == digits[RANDOM_DIGITS..]
}

fn check_digits(digits: &str) -> String {
    base62(&crc32fast::hash(digits.as_bytes()).to_be_bytes(), CHECK_DIGITS)
}

/// The number with these big-endian bytes, with zeros in front up to the given length.
fn base62(bytes: &[u8], length: usize) -> String {
    let digits = base_x::encode(ALPHABET, bytes);
    // The encoder gives a zero for each leading zero byte; those are part of the padding here.
    format!("{:0>length$}", digits.trim_start_matches('0'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Credential;

    #[test]
    fn the_form_is_fixed() {
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
        fn a_typing_error_is_noticed(random: [u8; 32], place in 3_usize..52, digit in 0_usize..62) {
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
