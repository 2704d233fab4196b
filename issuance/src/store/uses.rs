//! Taking the uses of limited credentials.

use std::{collections::HashMap, sync::Arc};

use credentials::{CredentialHash, Use, UseAnswer};
use platform::{
    batch::Batch,
    clock::Deadline,
    database::{Access, Database, DatabaseError, Row, Sql, to_json},
};

/// Takes uses, the elements of a JSON array. One that was taken before with one of the same tags, within a day, is granted
/// again. If several in the array have the same first tag, one is taken. Nothing is granted of a credential that has ended.
/// The time is the database's, because the statement may wait for its turn.
const TAKE: Sql = Sql {
    // SQLite reads all rows before it fires a trigger.
    sqlite: "INSERT INTO use_attempts \
             (place, credential_hash, tags, number, taken, status, uses_left, expires_at, revoked_at) \
             WITH clock AS (SELECT CAST(round(unixepoch('subsec') * 1000) AS INTEGER) AS now), \
             item AS (SELECT key AS place, value ->> 'credential_hash' AS credential_hash, \
             value ->> '$.tags' AS tags, value ->> '$.tags[0]' AS tag, \
             (SELECT max(number) FROM uses, clock WHERE tag IN \
             (SELECT value FROM json_each(given.value, '$.tags')) AND used_at > now - 86400000) AS earlier \
             FROM json_each($1) AS given), \
             counted AS (SELECT item.*, uses, max_uses, expires_at, revoked_at, earlier IS NULL AND row_number() OVER \
             (PARTITION BY credential_hash, coalesce(tag, place) ORDER BY place) = 1 AS fresh \
             FROM item JOIN credentials USING (credential_hash)), \
             numbered AS (SELECT *, uses + sum(fresh) OVER (PARTITION BY credential_hash ORDER BY place) AS next \
             FROM counted), \
             outcome AS (SELECT *, coalesce(earlier, first_value(next) OVER \
             (PARTITION BY credential_hash, coalesce(tag, place) ORDER BY place)) AS number, \
             CASE WHEN revoked_at IS NOT NULL THEN 'revoked' WHEN expires_at <= now THEN 'expired' END AS ended \
             FROM numbered, clock) \
             SELECT place, credential_hash, tags, number, \
             ended IS NULL AND fresh AND number <= max_uses, \
             coalesce(ended, iif(earlier IS NOT NULL OR number <= max_uses, 'active', 'used_up')), \
             max(max_uses - number, 0), expires_at, revoked_at FROM outcome WHERE max_uses IS NOT NULL \
             RETURNING place, status, uses_left, expires_at, revoked_at",
    postgres: "SELECT place, status, uses_left, expires_at, revoked_at FROM take_uses($1::text::json)",
};

/// Takes the uses of several requests at once.
pub(super) struct Take(pub(super) Arc<Database>);

/// These uses, with the same tag first in all items for the same use. Verifications that know different secrets have
/// only some of their tags in common.
fn united(uses: &[&Use]) -> Vec<Use> {
    let mut first_tags = HashMap::new();
    let mut united = Vec::new();
    for Use { credential_hash, tags } in uses {
        let first = tags.iter().find_map(|tag| first_tags.get(tag).copied()).or(tags.first());
        for tag in tags {
            first_tags.entry(tag).or_insert(first.unwrap_or(tag));
        }
        let others = tags.iter().filter(|tag| Some(*tag) != first);
        let tags = first.into_iter().chain(others).cloned().collect();
        united.push(Use { credential_hash: *credential_hash, tags });
    }
    united
}

fn answer(credential_hash: CredentialHash, row: &Row) -> Result<UseAnswer, DatabaseError> {
    Ok(UseAnswer {
        credential_hash,
        status: row.get("status")?,
        uses_left: row.get("uses_left")?,
        expires_at: row.get("expires_at")?,
        revoked_at: row.get("revoked_at")?,
    })
}

impl Batch for Take {
    type Item = Vec<Use>;
    /// `None` for what is not a limited credential.
    type Output = Vec<Option<UseAnswer>>;
    type Error = DatabaseError;

    async fn run(
        &self,
        requests: &[Vec<Use>],
        deadline: Deadline,
    ) -> Result<Vec<Vec<Option<UseAnswer>>>, DatabaseError> {
        let uses = united(&requests.iter().flatten().collect::<Vec<_>>());
        let rows =
            self.0.try_once(Access::Write(uses.len()), TAKE.text(), [to_json(&uses)?], deadline).await?;
        let mut taken = vec![None; uses.len()];
        for row in &rows {
            let place: u64 = row.get("place")?;
            let place = usize::try_from(place).ok().filter(|place| *place < uses.len());
            let place = place.ok_or(DatabaseError::UnexpectedRow { column: "place" })?;
            taken[place] = Some(answer(uses[place].credential_hash, row)?);
        }
        let mut taken = taken.into_iter();
        Ok(requests.iter().map(|uses| taken.by_ref().take(uses.len()).collect()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_use_has_the_same_first_tag_whichever_secrets_a_verification_knows() {
        let tags = [&["old"][..], &["new", "old"], &["other"], &[], &["new"]];
        let uses = tags.map(|tags| Use {
            credential_hash: [7; 32].into(),
            tags: tags.iter().map(ToString::to_string).collect(),
        });
        let united = united(&uses.iter().collect::<Vec<_>>());
        let tags: Vec<_> = united.iter().map(|item| item.tags.join(" ")).collect();
        assert_eq!(tags, ["old", "old new", "other", "", "old new"]);
    }
}
