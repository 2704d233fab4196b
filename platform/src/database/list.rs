//! Pages of a table, newest first, read from an index in its order.

use crate::{Database, DatabaseError, Row, Value};

/// A page of a list, and where the next one begins, if there is more.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// At most as many as were asked for.
    pub items: Vec<T>,
    /// The key of the last row that was looked at: [`ListQuery::range`] takes it.
    pub next: Option<Vec<Value>>,
}

/// The query for one page: rows in the descending order of a key, with conditions.
///
/// Only conditions that are asked for are part of the statement, so that SQLite picks the index made for them.
#[derive(Clone, Debug)]
pub struct ListQuery {
    table: &'static str,
    columns: &'static str,
    key: &'static [&'static str],
    limit: u8,
    /// What an index can tell.
    indexed: Conditions,
    /// What has to be looked at row by row.
    scanned: Conditions,
}

#[derive(Clone, Debug, Default)]
struct Conditions {
    conditions: Vec<String>,
    parameters: Vec<Value>,
}

/// How many rows are looked at for one page at most: a few milliseconds' worth.
const MAX_SCANNED: i64 = 10_000;

impl ListQuery {
    /// Up to `limit` rows of a table, by a unique key of one or more of its columns, which are among the selected ones.
    pub fn new(table: &'static str, columns: &'static str, key: &'static [&'static str], limit: u8) -> Self {
        Self { table, columns, key, limit, indexed: Conditions::default(), scanned: Conditions::default() }
    }

    /// Only rows for which an index can tell that a condition holds.
    #[must_use]
    pub fn filter(mut self, condition: &str, parameters: impl IntoIterator<Item = Value>) -> Self {
        self.indexed.add(condition.to_owned(), parameters);
        self
    }

    /// Only rows for which a condition holds that no index can tell.
    ///
    /// At most 10,000 rows are looked at for a page then: it may have fewer rows than its limit, even none, though more
    /// come after it.
    #[must_use]
    pub fn scan(mut self, condition: &str, parameters: impl IntoIterator<Item = Value>) -> Self {
        self.scanned.add(condition.to_owned(), parameters);
        self
    }

    /// Only rows whose first key column is at least `since` and less than `until`, and which come after the row with the
    /// key `after`: [`Page::next`] of a page with the same conditions.
    #[must_use]
    pub fn range(mut self, since: Option<Value>, until: Option<Value>, after: Option<Vec<Value>>) -> Self {
        if let Some(since) = since {
            self.indexed.add(format!("{} >= ?", self.key[0]), [since]);
        }
        // One upper bound: of two, SQLite would search by one and step through all rows between it and the other. Rows
        // after a page with the same conditions come before `until` anyway.
        match (after, until) {
            (Some(after), _) => self.indexed.add(self.compared_with_key("<"), after),
            (None, Some(until)) => self.indexed.add(format!("{} < ?", self.key[0]), [until]),
            (None, None) => {}
        }
        self
    }

    /// Runs the query.
    ///
    /// # Errors
    /// [`DatabaseError`]; [`DatabaseError::UnexpectedRow`] if `from_row` or the key does not fit.
    pub async fn page<T>(
        mut self,
        database: &Database,
        from_row: impl Fn(&Row) -> Result<T, DatabaseError>,
    ) -> Result<Page<T>, DatabaseError> {
        // First how far to look, then what is there: rows that are added in between are newer, and change neither.
        let mut end = None;
        if let Some((statement, parameters)) = self.end_of_scan() {
            let rows = database.query(&statement, parameters).await?;
            end = rows.first().map(|row| self.key_of(row)).transpose()?;
            if let Some(end) = &end {
                self.scanned.add(self.compared_with_key(">="), end.clone());
            }
        }
        let (statement, parameters) = self.statement();
        let mut rows = database.query(&statement, parameters).await?;
        // The one row more tells that there is a next page.
        let limit = usize::from(self.limit);
        if rows.len() > limit {
            rows.truncate(limit);
            end = rows.last().map(|row| self.key_of(row)).transpose()?;
        }
        Ok(Page { items: rows.iter().map(from_row).collect::<Result<_, _>>()?, next: end })
    }

    /// The statement for the page and one row more, with its parameters.
    #[must_use]
    pub fn statement(&self) -> (String, Vec<Value>) {
        let Self { table, columns, limit, indexed, scanned, .. } = self;
        let conditions = [indexed.conditions.as_slice(), scanned.conditions.as_slice()].concat();
        let mut parameters = [indexed.parameters.as_slice(), scanned.parameters.as_slice()].concat();
        parameters.push((i64::from(*limit) + 1).into());
        let (conditions, order) = (all_of(&conditions), self.order());
        (format!("SELECT {columns} FROM {table} WHERE {conditions} ORDER BY {order} LIMIT ?"), parameters)
    }

    /// The statement for the key of the last row to look at, if there is a limit to it.
    fn end_of_scan(&self) -> Option<(String, Vec<Value>)> {
        if self.scanned.conditions.is_empty() {
            return None;
        }
        let (table, key) = (self.table, self.key.join(", "));
        let (conditions, order) = (all_of(&self.indexed.conditions), self.order());
        let mut parameters = self.indexed.parameters.clone();
        parameters.push((MAX_SCANNED - 1).into());
        Some((
            format!("SELECT {key} FROM {table} WHERE {conditions} ORDER BY {order} LIMIT 1 OFFSET ?"),
            parameters,
        ))
    }

    fn order(&self) -> String {
        self.key.iter().map(|column| format!("{column} DESC")).collect::<Vec<_>>().join(", ")
    }

    fn compared_with_key(&self, operator: &str) -> String {
        let places = vec!["?"; self.key.len()].join(", ");
        format!("({}) {operator} ({places})", self.key.join(", "))
    }

    fn key_of(&self, row: &Row) -> Result<Vec<Value>, DatabaseError> {
        self.key.iter().map(|column| row.get(column)).collect()
    }
}

impl Conditions {
    fn add(&mut self, condition: String, parameters: impl IntoIterator<Item = Value>) {
        self.conditions.push(condition);
        self.parameters.extend(parameters);
    }
}

fn all_of(conditions: &[String]) -> String {
    if conditions.is_empty() { "true".to_owned() } else { conditions.join(" AND ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query() -> ListQuery {
        ListQuery::new("t", "a, b, c", &["a", "b"], 50)
    }

    #[test]
    fn only_what_is_asked_for_is_part_of_the_statement() {
        let (statement, parameters) = query().statement();
        assert_eq!(statement, "SELECT a, b, c FROM t WHERE true ORDER BY a DESC, b DESC LIMIT ?");
        assert_eq!(parameters, [Value::Integer(51)]);
        assert_eq!(query().end_of_scan(), None);
    }

    #[test]
    fn a_page_has_one_upper_bound() {
        let until = || query().filter("c = ?", ["x".into()]).range(Some(1.into()), Some(9.into()), None);
        assert_eq!(
            until().statement(),
            (
                "SELECT a, b, c FROM t WHERE c = ? AND a >= ? AND a < ? ORDER BY a DESC, b DESC LIMIT ?"
                    .to_owned(),
                vec!["x".into(), 1.into(), 9.into(), 51.into()]
            )
        );
        let after = query().range(None, Some(9.into()), Some(vec![5.into(), 2.into()]));
        assert_eq!(
            after.statement(),
            (
                "SELECT a, b, c FROM t WHERE (a, b) < (?, ?) ORDER BY a DESC, b DESC LIMIT ?".to_owned(),
                vec![5.into(), 2.into(), 51.into()]
            )
        );
    }

    #[test]
    fn what_no_index_can_tell_is_looked_for_within_bounds() {
        let scan = query().filter("b = ?", [7.into()]).scan("c > ?", [8.into()]);
        assert_eq!(
            scan.end_of_scan().unwrap(),
            (
                "SELECT a, b FROM t WHERE b = ? ORDER BY a DESC, b DESC LIMIT 1 OFFSET ?".to_owned(),
                vec![7.into(), 9999.into()]
            )
        );
    }
}
