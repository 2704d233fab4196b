//! Rows of CSV (RFC 4180) that are safe to open in a spreadsheet.

use std::{borrow::Cow, collections::HashMap};

use csv::{QuoteStyle, Terminator, WriterBuilder};
use serde::Serialize;
use serde_json::value::RawValue;

use super::Problem;

/// The characters a formula can begin with.
const SIGNS: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

/// Characters that start a new cell in spreadsheets set to a separator other than the comma.
const SEPARATORS: [char; 4] = [';', '\t', '\r', '\n'];

/// A row for each item, below the names of the columns if `header` says so.
///
/// The cells of an item are its members in JSON with the names of the columns: strings without their quotes, other
/// values as JSON, nothing for a missing member.
///
/// # Errors
/// A 500 if an item is not an object in JSON.
pub(super) fn write<T: Serialize>(columns: &[&str], header: bool, items: &[T]) -> Result<Vec<u8>, Problem> {
    // All cells are quoted: some spreadsheets also split at semicolons and tabs, but not inside quotes.
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
        match json.bytes().next() {
            Some(b'"') => serde_json::from_str(json).map(|text: String| as_text(&text)),
            Some(b'{' | b'[') => Ok(as_text(json)),
            _ => Ok(json.to_owned()),
        }
    };
    columns.iter().map(cell).collect()
}

/// The text with apostrophes that make a spreadsheet treat it as text: before a number, which would otherwise keep 15
/// digits and lose leading zeros; before white space, which would be dropped; and before each sign that could begin a
/// formula (OWASP, "CSV Injection"). The page applies the same rule: `web/static/csv.js`.
///
/// Excel splits at its own separator even inside the quotes of a cell, except the first one, so a formula may also
/// begin after such a separator and after quotes that follow it. Other programs trim cells, so a sign after trimmed
/// characters counts as the first.
fn as_text(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    if text.starts_with(['\t', '\r', '\n']) || is_number(text) {
        safe.push('\'');
    }
    let mut begins = true;
    for character in text.chars() {
        if begins && SIGNS.contains(&character) {
            safe.push('\'');
        }
        begins = SEPARATORS.contains(&character) || (begins && (character == '"' || is_dropped(character)));
        safe.push(character);
    }
    safe
}

/// Whether a spreadsheet reads the text as a number: digits with an optional decimal point or comma and exponent, also
/// in full-width forms.
fn is_number(text: &str) -> bool {
    let narrow = |wide| match wide {
        '！'..='～' => char::from_u32(u32::from(wide) - 0xfee0).unwrap_or(wide),
        other => other,
    };
    let number: String = text.trim_matches(is_dropped).chars().map(narrow).collect();
    let number = number.replacen(',', ".", 1);
    number.starts_with(|first: char| first.is_ascii_digit() || first == '.') && number.parse::<f64>().is_ok()
}

/// Whether a program that trims cells may drop this character: white space and invisible characters (Unicode's
/// controls, format characters and `Default_Ignorable_Code_Point`).
fn is_dropped(character: char) -> bool {
    character.is_whitespace()
        || character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
                | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
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

    /// Cells and how they are written; the page's tests use the same list.
    #[derive(serde::Deserialize)]
    struct Cases {
        signs: Vec<char>,
        before: Vec<String>,
        changed: Vec<(String, String)>,
        unchanged: Vec<String>,
    }

    #[test]
    fn no_cell_is_a_formula_or_a_number_to_a_spreadsheet() {
        let cases: Cases = serde_json::from_str(include_str!("csv_cells.json")).unwrap();
        assert_eq!(cases.signs, SIGNS);
        for (before, sign) in cases.before.iter().flat_map(|before| SIGNS.map(|sign| (before, sign))) {
            assert_eq!(as_text(&format!("{before}{sign}1")), format!("{before}'{sign}1"));
        }
        for (text, safe) in cases.changed {
            assert_eq!(as_text(&text), safe, "{text:?}");
        }
        for text in cases.unchanged {
            assert_eq!(as_text(&text), text);
        }
    }

    #[test]
    fn a_key_id_of_digits_is_text_and_a_count_is_a_number() {
        let item = json!({ "key_id": "891000238129e142", "request_id": "42", "count": 42 });
        let row = write(&["key_id", "request_id", "count"], false, &[item]).unwrap();
        assert_eq!(row, b"\"'891000238129e142\",\"'42\",\"42\"\r\n");
    }
}
