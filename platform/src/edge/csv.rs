//! Rows of CSV (RFC 4180) that are safe to open in a spreadsheet.

use std::{borrow::Cow, collections::HashMap};

use csv::{QuoteStyle, Terminator, WriterBuilder};
use serde::Serialize;
use serde_json::value::RawValue;

use super::Problem;

/// What a formula begins with.
const SIGNS: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

/// Where a spreadsheet that is set to another separator than the comma begins a new cell.
const SEPARATORS: [char; 4] = [';', '\t', '\r', '\n'];

/// A row for each item, below the names of the columns if `header` says so.
///
/// The cells of an item are its members in JSON with the names of the columns: strings without their quotes, other
/// values as JSON, nothing for a missing member.
///
/// # Errors
/// A 500 if an item is no object in JSON.
pub(super) fn write<T: Serialize>(columns: &[&str], header: bool, items: &[T]) -> Result<Vec<u8>, Problem> {
    // All cells are quoted: some spreadsheets also split at semicolons and tabs, but not within quotes.
    let mut writer = WriterBuilder::new()
        .terminator(Terminator::CRLF)
        .quote_style(QuoteStyle::Always)
        .from_writer(Vec::new());
    if header {
        writer.write_record(columns).map_err(Problem::internal)?;
    }
    for item in items {
        let json = serde_json::to_string(item).map_err(Problem::internal)?;
        let cells = cells(columns, &json).map_err(Problem::internal)?;
        writer.write_record(cells).map_err(Problem::internal)?;
    }
    writer.into_inner().map_err(Problem::internal)
}

fn cells(columns: &[&str], json: &str) -> Result<Vec<String>, serde_json::Error> {
    let members: HashMap<Cow<'_, str>, &RawValue> = serde_json::from_str(json)?;
    let cell = |column: &&str| {
        let json = members.get(*column).map(|value| value.get()).unwrap_or_default();
        if json.starts_with('"') {
            serde_json::from_str(json).map(|text: String| as_text(&text))
        } else {
            Ok(without_formula(json))
        }
    };
    columns.iter().map(cell).collect()
}

/// The text as a cell that a spreadsheet takes for text: with an apostrophe before a number, of which it would keep 15
/// digits, or before formulas.
fn as_text(text: &str) -> String {
    let number = text.trim();
    let is_number = number.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        && number.parse::<f64>().is_ok();
    if is_number { format!("'{text}") } else { without_formula(text) }
}

/// The text with an apostrophe before each sign that could begin a formula, and before white space that a spreadsheet
/// drops from the beginning of a cell (OWASP, "CSV Injection").
///
/// Excel splits at its own separator even within the quotes of a cell, unless that cell is the first one. So a formula
/// may also begin after such a separator, and after quotes that follow it. Other programs trim cells: white space and
/// characters without a shape do not separate a sign from the beginning.
fn without_formula(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    if text.starts_with(['\t', '\r', '\n']) {
        safe.push('\'');
    }
    let mut begins = true;
    for character in text.chars() {
        if begins && SIGNS.contains(&character) {
            safe.push('\'');
        }
        begins = SEPARATORS.contains(&character) || (begins && (character == '"' || is_blank(character)));
        safe.push(character);
    }
    safe
}

/// Whether a program that trims a cell may drop this character: white space, controls and invisible format characters.
fn is_blank(character: char) -> bool {
    character.is_whitespace()
        || character.is_control()
        || matches!(character, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
        || matches!(character, '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cells_are_the_members_named_by_the_columns() {
        let item = json!({ "d": { "x": [1.5, null] }, "a": "one, \"two\"\r\nthree", "b": true, "e": "not a column" });
        let write =
            |header| String::from_utf8(write(&["a", "b", "c", "d"], header, &[&item]).unwrap()).unwrap();
        let row = "\"one, \"\"two\"\"\r\nthree\",\"true\",\"\",\"{\"\"x\"\":[1.5,null]}\"\r\n";
        assert_eq!(write(false), row);
        assert_eq!(write(true), format!("\"a\",\"b\",\"c\",\"d\"\r\n{row}"));
    }

    #[test]
    fn numbers_keep_every_digit_and_members_their_order() {
        let metadata = r#"{"z":1.0,"a":12345678901234567890123,"e":1E5}"#;
        let item = HashMap::from([("metadata", RawValue::from_string(metadata.to_owned()).unwrap())]);
        let row = format!("\"{}\"\r\n", metadata.replace('"', "\"\""));
        assert_eq!(write(&["metadata"], false, &[item]).unwrap(), row.as_bytes());
    }

    #[test]
    fn no_cell_begins_a_formula() {
        for sign in SIGNS {
            for (text, safe) in [
                (format!("{sign}1"), format!("'{sign}1")),
                (format!("a;{sign}1"), format!("a;'{sign}1")),
                (format!("a\t{sign}1"), format!("a\t'{sign}1")),
                (format!("a\r\n{sign}1\n{sign}1"), format!("a\r\n'{sign}1\n'{sign}1")),
                (format!("a;\"\"{sign}1"), format!("a;\"\"'{sign}1")),
                (format!("\t{sign}1"), format!("'\t'{sign}1")),
                (format!(" {sign}1"), format!(" '{sign}1")),
                (format!("a; \" {sign}1"), format!("a; \" '{sign}1")),
            ] {
                assert_eq!(as_text(&text), safe, "{text:?}");
            }
            for blank in
                "\u{b}\u{c}\u{85}\u{a0}\u{1680}\u{2003}\u{200b}\u{200e}\u{2028}\u{202f}\u{2060}\u{3000}\u{feff}\0\u{1b}"
                    .chars()
            {
                let text = format!("{blank} {blank}{sign}1");
                assert_eq!(as_text(&text), format!("{blank} {blank}'{sign}1"), "{text:?}");
            }
        }
        for (text, safe) in [("\ta", "'\ta"), ("\ra", "'\ra"), ("\na", "'\na")] {
            assert_eq!(as_text(text), safe, "{text:?}");
        }
    }

    #[test]
    fn no_text_is_a_number_that_loses_digits() {
        for text in [
            "0",
            "007",
            "8910002381291422",
            "891000238129e142",
            "1E5",
            "1e+5",
            "1e-5",
            "1.50",
            ".5",
            "5.",
            " 42 ",
            "\u{a0}42",
        ] {
            assert_eq!(as_text(text), format!("'{text}"), "{text:?}");
        }
        let item = json!({ "key_id": "891000238129e142", "count": 42 });
        assert_eq!(write(&["key_id", "count"], false, &[item]).unwrap(), b"\"'891000238129e142\",\"42\"\r\n");
    }

    #[test]
    fn other_cells_are_as_they_were() {
        for text in
            ["", "a", "a-b", "a=b, c@d", "a b-c; d", "\"a\"", "2026-11-23T16:58:30.108Z", "::1", "{\"a\":-1}"]
        {
            assert_eq!(as_text(text), text);
        }
        for text in ["192.0.2.1", "f8969e9992f8df7a", "12ab", "e5", "1e5x", "inf", "nan", ".", "1,5"] {
            assert_eq!(as_text(text), text);
        }
    }
}
