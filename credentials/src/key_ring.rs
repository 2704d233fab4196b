//! The keys in use: the current one, and retired ones for credentials issued earlier.

use crate::{Credential, CredentialHash, Error, KeyId, Secret, secret::is_in_quotes};

/// The current secret and the retired ones that are still accepted.
#[derive(Clone, Debug)]
pub struct KeyRing {
    current: Secret,
    retired: Vec<Secret>,
}

impl KeyRing {
    /// The most retired secrets.
    pub const MAX_RETIRED: usize = 8;

    /// Takes the current secret and a comma-separated list of retired ones, which may be empty. White space around a
    /// retired secret is ignored, and so are repetitions.
    ///
    /// # Errors
    /// [`Error::SecretTooShort`] and [`Error::SecretInQuotes`] for any of them, the latter also for a list in quotes;
    /// [`Error::TooManySecrets`] for more than [`KeyRing::MAX_RETIRED`] retired ones.
    pub fn new(current: &str, retired: &str) -> Result<Self, Error> {
        let current = Secret::new(current)?;
        if is_in_quotes(retired.trim()) {
            return Err(Error::SecretInQuotes);
        }
        let mut ring = Self { current, retired: Vec::new() };
        for text in retired.split(',').map(str::trim).filter(|text| !text.is_empty()) {
            let secret = Secret::new(text)?;
            if ring.secrets().all(|other| other.key_id() != secret.key_id()) {
                ring.retired.push(secret);
            }
        }
        if ring.retired.len() > Self::MAX_RETIRED { Err(Error::TooManySecrets) } else { Ok(ring) }
    }

    /// The secret that new credentials are issued under.
    pub fn current(&self) -> &Secret {
        &self.current
    }

    /// The hashes of a credential under each secret, the current one first.
    pub fn hashes(&self, credential: &Credential) -> Vec<CredentialHash> {
        self.secrets().map(|secret| secret.hash(credential)).collect()
    }

    /// The fingerprints of all secrets, the current one first.
    pub fn key_ids(&self) -> Vec<KeyId> {
        self.secrets().map(Secret::key_id).collect()
    }

    /// All secrets, the current one first.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        std::iter::once(&self.current).chain(&self.retired)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(letter: &str) -> String {
        letter.repeat(32)
    }

    #[test]
    fn a_credential_has_a_hash_under_every_secret_the_current_first() {
        let credential = Credential::new("x").unwrap();
        let hash = |letter: &str| Secret::new(&secret(letter)).unwrap().hash(&credential);
        let ring = KeyRing::new(&secret("a"), &format!("{}, {},", secret("b"), secret("c"))).unwrap();
        assert_eq!(ring.hashes(&credential), [hash("a"), hash("b"), hash("c")]);
        assert_eq!(KeyRing::new(&secret("a"), "").unwrap().hashes(&credential), [hash("a")]);
    }

    #[test]
    fn a_secret_that_is_listed_twice_counts_once() {
        let ring = KeyRing::new(&secret("a"), &[secret("a"), secret("b"), secret("b")].join(",")).unwrap();
        assert_eq!(ring.hashes(&Credential::new("x").unwrap()).len(), 2);
        assert_eq!(ring.key_ids(), ["a", "b"].map(|letter| Secret::new(&secret(letter)).unwrap().key_id()));
    }

    #[test]
    fn every_secret_must_be_long_enough_and_there_are_at_most_eight_retired() {
        assert_eq!(KeyRing::new(&secret("a"), "short").unwrap_err(), Error::SecretTooShort);
        let quoted = format!("\"{},{}\"", secret("b"), secret("c"));
        for list in [quoted.as_str(), &format!("'{}'", secret("b")), &format!("{}, '{0}'", secret("b"))] {
            assert_eq!(KeyRing::new(&secret("a"), list).unwrap_err(), Error::SecretInQuotes, "{list}");
        }
        let retired =
            |count: u8| (0..count).map(|i| secret(&char::from(b'b' + i).to_string())).collect::<Vec<_>>();
        assert!(KeyRing::new(&secret("a"), &retired(8).join(",")).is_ok());
        assert_eq!(KeyRing::new(&secret("a"), &retired(9).join(",")).unwrap_err(), Error::TooManySecrets);
    }
}
