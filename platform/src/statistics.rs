//! Statistics and metrics, from the counts by hour and kind that triggers keep in a service's table `counts`.

use std::{
    fmt::{self, Write},
    time::Duration,
};

use axum::response::{IntoResponse, Response};
use credentials::Timestamp;
use http::{HeaderValue, header};
use serde::{Deserialize, Serialize, Serializer};

use crate::{
    clock::{self, Deadline},
    database::{ALL_ROWS, Access, Database, DatabaseError, Sql},
    edge::Problem,
};

/// The parameters of `GET /statistics/…`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// From the beginning of the hour or day of this time.
    since: Option<Timestamp>,
    /// To the end of the last hour or day that begins before this time; by default now.
    until: Option<Timestamp>,
    #[serde(default)]
    by: Interval,
}

/// The length of a bucket. Days are those of UTC.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Interval {
    #[default]
    Hour,
    Day,
}

/// The response to `GET /statistics/…`: what was counted in a range of time.
#[derive(Debug, Serialize)]
pub struct Statistics {
    by: Interval,
    since: Timestamp,
    until: Timestamp,
    /// Those with any counts, oldest first.
    buckets: Vec<Bucket>,
    totals: Counts,
}

#[derive(Debug, Serialize)]
struct Bucket {
    start: Timestamp,
    #[serde(flatten)]
    counts: Counts,
}

/// A number for each kind.
#[derive(Clone, Debug)]
pub(crate) struct Counts(Vec<(&'static str, u64)>);

impl Interval {
    fn length(self) -> Duration {
        const HOUR: Duration = Duration::from_secs(60 * 60);
        match self {
            Self::Hour => HOUR,
            Self::Day => 24 * HOUR,
        }
    }

    /// The default number of buckets up to now: a day of hours, or a month of days.
    fn default_buckets(self) -> i64 {
        match self {
            Self::Hour => 24,
            Self::Day => 30,
        }
    }
}

impl Range {
    /// The most buckets: half a year of hours, ten years of days.
    const MAX_BUCKETS: i64 = 4_000;

    /// Reads what a service has counted in this range.
    ///
    /// # Errors
    /// 400 if it is empty, or too long for its interval; 503 if the database cannot be used.
    pub async fn read(self, database: &Database, families: &[Family]) -> Result<Statistics, Problem> {
        let length = i64::try_from(self.by.length().as_millis()).map_err(Problem::internal)?;
        let bucket = |time: Timestamp| time.as_millis().div_euclid(length);
        let last = match self.until {
            None => bucket(clock::now()?),
            Some(until) => (until.as_millis() - 1).div_euclid(length),
        };
        let first = self.since.map_or(last + 1 - self.by.default_buckets(), bucket);
        if first > last {
            return Err(Problem::invalid("query.since", "must be before until, which is now unless given"));
        }
        if last - first >= Self::MAX_BUCKETS {
            let rule = format!("must be within {} hours or days of until", Self::MAX_BUCKETS);
            return Err(Problem::invalid("query.since", rule));
        }
        let time = |bucket: i64| {
            let outside = |_| Problem::invalid("query.until", "must be within the years 0 to 9999");
            Timestamp::from_millis(bucket * length).map_err(outside)
        };
        let (since, until) = (time(first)?, time(last + 1)?);
        // An hour never spans two buckets.
        let rows = database
            .query(
                Access::Read(ALL_ROWS),
                "SELECT hour / $1 AS bucket, kind, CAST(sum(count) AS BIGINT) AS count FROM counts \
                 WHERE hour >= $2 AND hour < $3 GROUP BY bucket, kind ORDER BY bucket",
                [length.into(), since.into(), until.into()],
                Deadline::of_request(),
            )
            .await?;
        let (mut buckets, mut totals) = (Vec::<Bucket>::new(), Counts::none(families));
        for row in &rows {
            let (start, kind) = (time(row.get("bucket")?)?, row.get::<String>("kind")?);
            let count = row.get("count")?;
            if buckets.last().is_none_or(|bucket| bucket.start != start) {
                buckets.push(Bucket { start, counts: Counts::none(families) });
            }
            totals.add(&kind, count);
            buckets.last_mut().into_iter().for_each(|bucket| bucket.counts.add(&kind, count));
        }
        Ok(Statistics { by: self.by, since, until, buckets, totals })
    }
}

impl Counts {
    fn none(families: &[Family]) -> Self {
        Self(families.iter().flat_map(|family| family.kinds).map(|kind| (*kind, 0)).collect())
    }

    /// Reads the sums over all time.
    async fn total(database: &Database, families: &[Family]) -> Result<Self, DatabaseError> {
        let statement = "SELECT kind, CAST(sum(count) AS BIGINT) AS count FROM counts GROUP BY kind";
        let mut totals = Self::none(families);
        for row in database.query(Access::Read(ALL_ROWS), statement, [], Deadline::of_request()).await? {
            totals.add(&row.get::<String>("kind")?, row.get("count")?);
        }
        Ok(totals)
    }

    fn add(&mut self, kind: &str, count: u64) {
        let known = self.0.iter_mut().find(|(known, _)| *known == kind);
        known.into_iter().for_each(|(_, number)| *number += count);
    }
}

impl Serialize for Counts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

/// Counters that share a name: a metric family of Prometheus.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// The name of the metric.
    pub name: &'static str,
    /// A sentence that says what it counts.
    pub help: &'static str,
    /// The label that tells its kinds apart, if it has more than one.
    pub label: Option<&'static str>,
    /// The kinds that belong to it.
    pub kinds: &'static [&'static str],
}

/// The response to `GET /metrics/…`, in the text format of Prometheus, version 0.0.4.
#[derive(Debug)]
pub struct Metrics(String);

impl Metrics {
    /// Reads the counters of a service, and the size of its database where the database reports it.
    ///
    /// # Errors
    /// [`DatabaseError`] if the database cannot be used.
    pub async fn read(
        service: &'static str,
        database: &Database,
        families: &[Family],
    ) -> Result<Self, DatabaseError> {
        const SIZE: Sql = Sql {
            sqlite: "SELECT page_count * page_size AS bytes FROM pragma_page_count(), pragma_page_size()",
            postgres: "SELECT pg_database_size(current_database()) AS bytes",
        };

        let totals = Counts::total(database, families).await?;
        let size = database.query_briefly(Access::Read(1), SIZE.text(), []).await;
        let bytes = size.and_then(|rows| rows.first().map(|row| row.get::<u64>("bytes")).transpose());
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = write(&mut text, service, &totals, families, bytes.ok().flatten());
        Ok(Self(text))
    }
}

fn write(
    text: &mut String,
    service: &str,
    totals: &Counts,
    families: &[Family],
    bytes: Option<u64>,
) -> fmt::Result {
    let head = |text: &mut String, name: &str, kind: &str, help: &str| {
        write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n")
    };
    for Family { name, help, label, kinds } in families {
        head(text, name, "counter", help)?;
        for (kind, number) in totals.0.iter().filter(|(kind, _)| kinds.contains(kind)) {
            let labels = label.map(|label| format!(r#"{{{label}="{kind}"}}"#)).unwrap_or_default();
            writeln!(text, "{name}{labels} {number}")?;
        }
    }
    let (name, version) = ("kube_credentials_build_info", env!("CARGO_PKG_VERSION"));
    head(text, name, "gauge", "The version of the service.")?;
    writeln!(text, r#"{name}{{service="{service}",version="{version}"}} 1"#)?;
    if let Some(bytes) = bytes {
        let name = "kube_credentials_database_bytes";
        head(text, name, "gauge", "The size of the service's database, without its write-ahead log.")?;
        writeln!(text, r#"{name}{{service="{service}"}} {bytes}"#)?;
    }
    Ok(())
}

impl IntoResponse for Metrics {
    fn into_response(self) -> Response {
        let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        ([(header::CONTENT_TYPE, content_type)], self.0).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAMILIES: [Family; 2] = [
        Family { name: "a_total", help: "As.", label: Some("status"), kinds: &["good", "bad"] },
        Family { name: "b_total", help: "Bs.", label: None, kinds: &["other"] },
    ];

    #[test]
    fn counts_are_members_by_kind_and_unknown_kinds_are_left_out() {
        let mut counts = Counts::none(&FAMILIES);
        counts.add("bad", 2);
        counts.add("bad", 3);
        counts.add("of a later version", 7);
        let bucket = Bucket { start: Timestamp::from_millis(0).unwrap(), counts };
        assert_eq!(
            serde_json::to_string(&bucket).unwrap(),
            r#"{"start":"1970-01-01T00:00:00.000Z","good":0,"bad":5,"other":0}"#
        );
    }

    #[test]
    fn metrics_are_in_the_text_format_of_prometheus() {
        let mut totals = Counts::none(&FAMILIES);
        totals.add("good", 1);
        totals.add("other", 4);
        let mut text = String::new();
        write(&mut text, "s", &totals, &FAMILIES, Some(4096)).unwrap();
        let expected = format!(
            "# HELP a_total As.\n# TYPE a_total counter\na_total{{status=\"good\"}} 1\na_total{{status=\"bad\"}} 0\n\
             # HELP b_total Bs.\n# TYPE b_total counter\nb_total 4\n\
             # HELP kube_credentials_build_info The version of the service.\n\
             # TYPE kube_credentials_build_info gauge\n\
             kube_credentials_build_info{{service=\"s\",version=\"{}\"}} 1\n\
             # HELP kube_credentials_database_bytes The size of the service's database, without its write-ahead log.\n\
             # TYPE kube_credentials_database_bytes gauge\n\
             kube_credentials_database_bytes{{service=\"s\"}} 4096\n",
            env!("CARGO_PKG_VERSION"),
        );
        assert_eq!(text, expected);
    }
}
