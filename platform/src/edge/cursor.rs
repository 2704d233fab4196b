//! Cursors: where a page of a list ended, authenticated by this service.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use credentials::{Secret, Tag};
use subtle::ConstantTimeEq;

use super::Problem;
use crate::database::Value;

/// Writes and reads the cursors of one list with one set of filters.
///
/// A cursor is a tag over list, filters and key, followed by the key of a row, in base64url. One made for another list,
/// for other filters or under another secret is refused.
#[derive(Debug)]
pub struct Cursors<'a> {
    secret: &'a Secret,
    context: String,
}

impl<'a> Cursors<'a> {
    /// The cursors of the list with this name and these filters.
    pub(super) fn new(secret: &'a Secret, list: &str, filters: &str) -> Self {
        Self { secret, context: format!("{list}\n{filters}") }
    }

    /// The cursor for a key: [`Page::next`](crate::database::Page::next).
    ///
    /// # Errors
    /// A 500 if JSON cannot represent the key.
    pub fn write(&self, key: &[Value]) -> Result<String, Problem> {
        let key = serde_json::to_string(key).map_err(Problem::internal)?;
        let mut bytes = self.tag(&key).to_vec();
        bytes.extend_from_slice(key.as_bytes());
        Ok(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The key of a cursor.
    ///
    /// # Errors
    /// A 400 for anything but a cursor of this list with these filters.
    pub fn read(&self, cursor: &str) -> Result<Vec<Value>, Problem> {
        let key = || {
            let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
            let (tag, key) = bytes.split_first_chunk::<{ size_of::<Tag>() }>()?;
            let key = std::str::from_utf8(key).ok()?;
            if !bool::from(self.tag(key).ct_eq(tag)) {
                return None;
            }
            serde_json::from_str(key).ok()
        };
        key().ok_or_else(|| {
            Problem::invalid("query.cursor", "must be the next_cursor of a page with the same filters")
        })
    }

    fn tag(&self, key: &str) -> Tag {
        self.secret.tag(format!("{}\n{key}", self.context).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_list_filters_and_secret_accept_a_cursor() {
        let (secret, other) = (Secret::new(&"a".repeat(32)).unwrap(), Secret::new(&"b".repeat(32)).unwrap());
        let cursors = Cursors::new(&secret, "list", "status=valid");
        let key = [Value::Integer(42), "é \" x".into()];
        let cursor = cursors.write(&key).unwrap();
        assert!(cursor.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
        assert_eq!(cursors.read(&cursor).unwrap(), key);
        assert!(Cursors::new(&secret, "list", "").read(&cursor).is_err());
        assert!(Cursors::new(&secret, "other", "status=valid").read(&cursor).is_err());
        assert!(Cursors::new(&other, "list", "status=valid").read(&cursor).is_err());
    }

    #[test]
    fn nonsense_is_not_a_cursor() {
        let secret = Secret::new(&"a".repeat(32)).unwrap();
        let cursors = Cursors::new(&secret, "list", "");
        let cursor = cursors.write(&[Value::Integer(42)]).unwrap();
        let changed = format!("{}A", &cursor[..cursor.len() - 1]);
        for nonsense in ["", "42", "!", "AAAAAAAAAAAAAAAA", &changed, &format!("{cursor}=")] {
            assert!(cursors.read(nonsense).is_err(), "{nonsense:?}");
        }
    }
}
