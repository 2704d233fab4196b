//! Pages of a table, newest first, read in the order of an index.

use super::{Access, Database, DatabaseError, Row, Value};
use crate::clock::Deadline;

/// A page of a list, and where the next one begins.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The items, at most the limit of the query.
    pub items: Vec<T>,
    /// The key of the last row that was looked at, for [`ListQuery::range`]; `None` on the last page.
    pub next: Option<Vec<Value>>,
}

impl<T> Page<T> {
    /// The page with other items.
    #[must_use]
    pub fn map<U>(self, item: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(item).collect(), next: self.next }
    }
}

/// The query for one page: rows in descending order of a key, filtered.
///
/// The statement contains only the filters in use, so that SQLite picks the matching index.
#[derive(Clone, Debug)]
pub struct ListQuery {
    table: &'static str,
    index: Option<&'static str>,
    columns: String,
    key: &'static [&'static str],
    limit: u16,
    /// Conditions that an index serves.
    indexed: Conditions,
    /// The lower bound of the key. There is one bound of each kind: given two, SQLite would search by one and step
    /// through all rows between them.
    from: Conditions,
    /// Conditions that are checked row by row.
    scanned: Conditions,
}

#[derive(Clone, Debug, Default)]
struct Conditions {
    conditions: Vec<String>,
    parameters: Vec<Value>,
}

/// The most rows examined for one page, which takes a few milliseconds.
const MAX_SCANNED: i64 = 10_000;

impl ListQuery {
    /// Up to `limit` rows of a table, by a unique key of one or more of the selected columns.
    pub fn new(
        table: &'static str,
        columns: impl Into<String>,
        key: &'static [&'static str],
        limit: u16,
    ) -> Self {
        let none = Conditions::default;
        Self {
            table,
            index: None,
            columns: columns.into(),
            key,
            limit,
            indexed: none(),
            from: none(),
            scanned: none(),
        }
    }

    /// Names the index in whose order the rows are read.
    #[must_use]
    pub fn index(mut self, index: &'static str) -> Self {
        self.index = Some(index);
        self
    }

    /// Keeps rows that meet a condition served by an index.
    #[must_use]
    pub fn filter(mut self, condition: &str, parameters: impl IntoIterator<Item = Value>) -> Self {
        self.indexed.add(condition.to_owned(), parameters);
        self
    }

    /// Keeps rows that meet a condition not served by an index.
    ///
    /// A page then examines at most 10,000 rows, so it may have fewer items than its limit, even none, although more
    /// follow.
    #[must_use]
    pub fn scan(mut self, condition: &str, parameters: impl IntoIterator<Item = Value>) -> Self {
        // `IS TRUE` keeps PostgreSQL from serving it with an index other than that of the order.
        self.scanned.add(format!("({condition}) IS TRUE"), parameters);
        self
    }

    /// Keeps rows whose first key column is at least `since` and less than `until`, and which follow the row with key
    /// `after`: [`Page::next`] of a page with the same conditions.
    #[must_use]
    pub fn range(mut self, since: Option<Value>, until: Option<Value>, after: Option<Vec<Value>>) -> Self {
        if let Some(since) = since {
            self.from.add(format!("{} >= ?", self.key[0]), [since]);
        }
        // Rows after a page with the same conditions are below `until` anyway.
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
        deadline: Deadline,
        from_row: impl Fn(&Row) -> Result<T, DatabaseError>,
    ) -> Result<Page<T>, DatabaseError> {
        // A row added between the two statements is examined too, which does no harm.
        let mut end = None;
        if let Some((statement, parameters)) = self.end_of_scan() {
            let rows = database.query(Access::Read(1), &statement, parameters, deadline).await?;
            end = rows.first().map(|row| self.key_of(row)).transpose()?;
            if let Some(end) = &end {
                self.end_scan_at(end.clone());
            }
        }
        let (statement, parameters) = self.statement();
        // An extra row shows that there is a next page.
        let limit = usize::from(self.limit);
        let mut rows = database.query(Access::Read(limit + 1), &statement, parameters, deadline).await?;
        if rows.len() > limit {
            rows.truncate(limit);
            end = rows.last().map(|row| self.key_of(row)).transpose()?;
        }
        Ok(Page { items: rows.iter().map(from_row).collect::<Result<_, _>>()?, next: end })
    }

    /// The statement for the page and one extra row, with its parameters.
    pub(crate) fn statement(&self) -> (String, Vec<Value>) {
        let Self { columns, limit, indexed, from, scanned, .. } = self;
        let table = self.table();
        let (conditions, mut parameters) = all_of([indexed, from, scanned]);
        let order = self.order();
        parameters.push((i64::from(*limit) + 1).into());
        let statement = format!("SELECT {columns} FROM {table} WHERE {conditions} ORDER BY {order} LIMIT ?");
        (numbered(&statement), parameters)
    }

    /// Ends the scan at the row with this key, which is at or above any other lower bound.
    pub(crate) fn end_scan_at(&mut self, end: Vec<Value>) {
        self.from = Conditions::default();
        self.from.add(self.compared_with_key(">="), end);
    }

    /// The statement for the key of the last row to examine, if rows are checked one by one.
    pub(crate) fn end_of_scan(&self) -> Option<(String, Vec<Value>)> {
        if self.scanned.conditions.is_empty() {
            return None;
        }
        let (table, key) = (self.table(), self.key.join(", "));
        let order = self.order();
        let (conditions, mut parameters) = all_of([&self.indexed, &self.from]);
        parameters.push((MAX_SCANNED - 1).into());
        let statement =
            format!("SELECT {key} FROM {table} WHERE {conditions} ORDER BY {order} LIMIT 1 OFFSET ?");
        Some((numbered(&statement), parameters))
    }

    /// The table, in SQLite with the index, because statistics would change its choice.
    fn table(&self) -> String {
        match self.index {
            Some(index) if cfg!(not(feature = "postgres")) => format!("{} INDEXED BY {index}", self.table),
            _ => self.table.to_owned(),
        }
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

/// The conditions as one, and their parameters.
fn all_of<const N: usize>(all: [&Conditions; N]) -> (String, Vec<Value>) {
    let conditions: Vec<_> = all.iter().flat_map(|part| &part.conditions).map(String::as_str).collect();
    let parameters = all.iter().flat_map(|part| &part.parameters).cloned().collect();
    let condition = if conditions.is_empty() { "true".to_owned() } else { conditions.join(" AND ") };
    (condition, parameters)
}

/// A statement with numbered parameters, which both databases understand, in place of its question marks.
fn numbered(statement: &str) -> String {
    let mut parts = statement.split('?');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.zip(1..).fold(first, |statement, (part, number)| format!("{statement}${number}{part}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query() -> ListQuery {
        ListQuery::new("t", "a, b, c", &["a", "b"], 50)
    }

    #[test]
    fn the_statement_contains_only_the_filters_in_use() {
        let (statement, parameters) = query().statement();
        assert_eq!(statement, "SELECT a, b, c FROM t WHERE true ORDER BY a DESC, b DESC LIMIT $1");
        assert_eq!(parameters, [Value::Integer(51)]);
        assert_eq!(query().end_of_scan(), None);
    }

    #[test]
    fn a_page_has_one_upper_bound() {
        let until = || query().filter("c = ?", ["x".into()]).range(Some(1.into()), Some(9.into()), None);
        assert_eq!(
            until().statement(),
            (
                "SELECT a, b, c FROM t WHERE c = $1 AND a < $2 AND a >= $3 ORDER BY a DESC, b DESC LIMIT $4"
                    .to_owned(),
                vec!["x".into(), 9.into(), 1.into(), 51.into()]
            )
        );
        let after = query().range(None, Some(9.into()), Some(vec![5.into(), 2.into()]));
        assert_eq!(
            after.statement(),
            (
                "SELECT a, b, c FROM t WHERE (a, b) < ($1, $2) ORDER BY a DESC, b DESC LIMIT $3".to_owned(),
                vec![5.into(), 2.into(), 51.into()]
            )
        );
    }

    #[test]
    fn a_scan_is_limited_to_10_000_rows_and_has_one_lower_bound() {
        let mut scan = query().filter("b = ?", [7.into()]).scan("c > ?", [8.into()]);
        scan = scan.range(Some(1.into()), None, None);
        assert_eq!(
            scan.end_of_scan().unwrap(),
            (
                "SELECT a, b FROM t WHERE b = $1 AND a >= $2 ORDER BY a DESC, b DESC LIMIT 1 OFFSET $3"
                    .to_owned(),
                vec![7.into(), 1.into(), 9999.into()]
            )
        );
        scan.end_scan_at(vec![4.into(), 5.into()]);
        assert_eq!(
            scan.statement(),
            (
                "SELECT a, b, c FROM t WHERE b = $1 AND (a, b) >= ($2, $3) AND (c > $4) IS TRUE \
                 ORDER BY a DESC, b DESC LIMIT $5"
                    .to_owned(),
                vec![7.into(), 4.into(), 5.into(), 8.into(), 51.into()]
            )
        );
    }
}
