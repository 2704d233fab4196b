//! From measurements to one line per target: medians over rounds, and ratios to the bare component.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use serde::Serialize;

use crate::{
    load::Load,
    measurement::{Latency, Measurement},
};

/// All rounds of one target under one load.
#[derive(Debug, Serialize)]
pub(crate) struct Cell {
    /// How many credentials and audit rows it started with; `None` if it was running already.
    pub(crate) rows: Option<u64>,
    pub(crate) load: Load,
    pub(crate) connections: usize,
    pub(crate) target: String,
    /// The target with the bare component on the same host; `None` for a running server.
    pub(crate) bare: Option<&'static str>,
    pub(crate) rounds: Vec<Measurement>,
}

/// The medians of all rounds, except that `max` is the highest and `errors` the sum.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) throughput: f64,
    pub(crate) latency: Latency,
    pub(crate) errors: u64,
    pub(crate) cpu_seconds_per_1000: Option<f64>,
    pub(crate) database_cpu_seconds_per_1000: Option<f64>,
    pub(crate) resident: Option<u64>,
    /// The median ratios to the bare component on the same host in the same round; `None` without it.
    pub(crate) throughput_to_bare: Option<f64>,
    pub(crate) p99_to_bare: Option<f64>,
    pub(crate) cpu_to_bare: Option<f64>,
}

#[derive(Serialize)]
pub(crate) struct Row<'a> {
    #[serde(flatten)]
    pub(crate) cell: &'a Cell,
    pub(crate) summary: Summary,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} at {} connections", self.target, self.load, self.connections)
    }
}

impl Cell {
    /// Summarises the rounds, compared with those of the bare component under the same load.
    pub(crate) fn summary(&self, bare: Option<&Self>) -> Summary {
        let of = |value: fn(&Measurement) -> f64| median(self.rounds.iter().map(value));
        let ratio = |value: fn(&Measurement) -> f64| {
            let rounds = self.rounds.iter().zip(&bare?.rounds);
            median(rounds.map(|(own, bare)| value(own) / value(bare)).filter(|ratio| ratio.is_finite()))
        };
        Summary {
            throughput: of(|round| round.throughput).unwrap_or(0.0),
            latency: Latency {
                p50: of(|round| round.latency.p50).unwrap_or(0.0),
                p99: of(|round| round.latency.p99).unwrap_or(0.0),
                p999: of(|round| round.latency.p999).unwrap_or(0.0),
                max: self.rounds.iter().map(|round| round.latency.max).fold(0.0, f64::max),
            },
            errors: self.rounds.iter().map(|round| round.errors.total()).sum(),
            cpu_seconds_per_1000: median(self.rounds.iter().filter_map(|round| round.cpu_seconds_per_1000)),
            database_cpu_seconds_per_1000: median(
                self.rounds.iter().filter_map(|round| round.database_cpu_seconds_per_1000),
            ),
            resident: median(self.rounds.iter().filter_map(|round| Some(round.resident? as f64)))
                .map(|bytes| bytes as u64),
            throughput_to_bare: ratio(|round| round.throughput),
            p99_to_bare: ratio(|round| round.latency.p99),
            cpu_to_bare: ratio(|round| round.cpu_seconds_per_1000.unwrap_or(f64::NAN)),
        }
    }
}

/// The middle value, or the mean of the two in the middle.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

/// Each cell with its summary.
pub(crate) fn rows(cells: &[Cell]) -> Vec<Row<'_>> {
    let row = |cell| {
        let Cell { rows, load, connections, bare, .. }: &Cell = cell;
        let is_bare = |other: &&Cell| {
            bare.is_some_and(|bare| other.target == bare)
                && (other.rows, other.load, other.connections) == (*rows, *load, *connections)
        };
        Row { cell, summary: cell.summary(cells.iter().find(is_bare)) }
    };
    cells.iter().map(row).collect()
}

/// The rows as a Markdown table.
pub(crate) fn table(rows: &[Row<'_>]) -> Table {
    const HEAD: [&str; 16] = [
        "rows",
        "load",
        "conns",
        "target",
        "req/s",
        "to bare",
        "p50 ms",
        "p99 ms",
        "to bare",
        "p99.9 ms",
        "max ms",
        "errors",
        "CPU s/1000",
        "to bare",
        "database",
        "RSS MiB",
    ];
    let dash = || "-".to_owned();
    let ratio = |ratio: Option<f64>| ratio.map_or_else(dash, |ratio| format!("{ratio:.2}"));
    let milliseconds = |time: f64| format!("{time:.2}");
    let seconds = |time: Option<f64>| time.map_or_else(dash, |time| format!("{time:.3}"));
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(HEAD).add_rows(rows.iter().map(|Row { cell, summary }| {
        [
            cell.rows.map_or_else(dash, |rows| grouped(rows as f64)),
            cell.load.to_string(),
            cell.connections.to_string(),
            cell.target.clone(),
            grouped(summary.throughput),
            ratio(summary.throughput_to_bare),
            milliseconds(summary.latency.p50),
            milliseconds(summary.latency.p99),
            ratio(summary.p99_to_bare),
            milliseconds(summary.latency.p999),
            milliseconds(summary.latency.max),
            summary.errors.to_string(),
            seconds(summary.cpu_seconds_per_1000),
            ratio(summary.cpu_to_bare),
            seconds(summary.database_cpu_seconds_per_1000),
            summary.resident.map_or_else(dash, |bytes| grouped(bytes as f64 / f64::from(1 << 20))),
        ]
    }));
    // Names are aligned to the left, numbers to the right.
    for column in table.column_iter_mut().filter(|column| !["load", "target"].contains(&HEAD[column.index])) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// A number without decimals, its digits in groups of three.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measurement::Errors;

    fn cell(target: &str, rows: Option<u64>, rounds: &[(f64, f64)]) -> Cell {
        let round = |&(throughput, p99): &(f64, f64)| Measurement {
            throughput,
            latency: Latency { p50: 1.0, p99, p999: 3.0, max: p99 * 10.0 },
            errors: Errors { verdict: 1, ..Errors::default() },
            cpu_seconds_per_1000: target.starts_with("embedded").then_some(10.0 / throughput),
            database_cpu_seconds_per_1000: None,
            resident: Some(1 << 20),
            own_cpu_seconds_per_1000: None,
            issued: 0,
            verified: 0,
        };
        let rounds = rounds.iter().map(round).collect();
        let bare = target.starts_with("embedded").then_some("embedded-bare");
        Cell { rows, load: Load::Issue, connections: 64, target: target.to_owned(), bare, rounds }
    }

    #[test]
    fn the_median_is_the_middle_value_or_the_mean_of_two() {
        let median = |values: &[f64]| median(values.iter().copied());
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 9.0]), Some(3.0));
    }

    #[test]
    fn ratios_are_taken_within_a_round_so_that_drift_cancels_out() {
        let own = cell("embedded", Some(10), &[(50.0, 2.0), (5.0, 20.0), (25.0, 4.0)]);
        let bare = cell("embedded-bare", Some(10), &[(100.0, 1.0), (10.0, 10.0), (50.0, 2.0)]);
        let summary = own.summary(Some(&bare));
        assert_eq!((summary.throughput, summary.throughput_to_bare), (25.0, Some(0.5)));
        assert_eq!((summary.latency.p99, summary.p99_to_bare), (4.0, Some(2.0)));
        assert_eq!((summary.latency.max, summary.errors), (200.0, 3));
        assert_eq!((summary.cpu_seconds_per_1000, summary.cpu_to_bare), (Some(0.4), Some(2.0)));
        assert_eq!(summary.resident, Some(1 << 20));
        let alone = own.summary(None);
        assert_eq!((alone.throughput_to_bare, alone.p99_to_bare, alone.cpu_to_bare), (None, None, None));
        let unknown_cpu = cell("node", Some(10), &[(100.0, 1.0)]);
        assert_eq!(own.summary(Some(&unknown_cpu)).cpu_to_bare, None);
    }

    #[test]
    fn a_cell_is_compared_with_one_of_the_same_size() {
        let cells = [
            cell("embedded-bare", Some(10), &[(100.0, 1.0)]),
            cell("embedded-bare", Some(1000), &[(50.0, 1.0)]),
            cell("embedded", Some(1000), &[(25.0, 1.0)]),
        ];
        let ratios: Vec<_> = rows(&cells).iter().map(|row| row.summary.throughput_to_bare.unwrap()).collect();
        assert_eq!(ratios, [1.0, 1.0, 0.5]);
    }

    #[test]
    fn a_cell_is_compared_with_the_bare_component_on_the_same_host() {
        let cells = [
            cell("embedded-bare", Some(10), &[(100.0, 1.0)]),
            cell("embedded", Some(10), &[(80.0, 1.0)]),
            cell("spin", Some(10), &[(50.0, 1.0)]),
        ];
        let ratios: Vec<_> = rows(&cells).iter().map(|row| row.summary.throughput_to_bare).collect();
        assert_eq!(ratios, [Some(1.0), Some(0.8), None]);
    }

    #[test]
    fn unknown_values_are_dashes() {
        let cells = [cell("node", None, &[(12345.6, 1.0)])];
        let table = table(&rows(&cells)).to_string();
        let line = table.lines().nth(2).unwrap();
        let fields: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(
            fields,
            [
                "-", "issue", "64", "node", "12,346", "-", "1.00", "1.00", "-", "3.00", "10.00", "1", "-",
                "-", "-", "1"
            ]
        );
    }
}
