//! Lists of what the REST API shows, and what became of one thing in it.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::table::Table;

/// A heading, and where in a row its cell is.
pub(super) type Column = (&'static str, &'static str);

/// A list, as the API gives it; for people a table of some of its columns.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Rows {
    rows: Vec<Value>,
    #[serde(skip)]
    columns: &'static [Column],
}

impl Rows {
    /// These rows with these columns.
    pub(super) fn new(columns: &'static [Column], rows: Vec<Value>) -> Self {
        Self { rows, columns }
    }
}

impl fmt::Display for Rows {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rows.is_empty() {
            return write!(out, "there is nothing");
        }
        let headings: Vec<&str> = self.columns.iter().map(|(heading, _)| *heading).collect();
        let mut table = Table::new(&headings);
        for row in &self.rows {
            table.row(self.columns.iter().map(|(_, place)| {
                let found = row.pointer(place).or_else(|| row.get(place));
                found.map_or_else(|| "-".into(), cell)
            }));
        }
        table.fmt(out)
    }
}

/// A value for people.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::String(text) if text.is_empty() => "-".into(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// Something that was done: a sentence for people, what the API says of it for scripts.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Done {
    answer: Value,
    #[serde(skip)]
    sentence: String,
}

impl Done {
    /// The sentence, and what the API says.
    pub(super) fn new(sentence: impl Into<String>, answer: Value) -> Self {
        Self {
            answer,
            sentence: sentence.into(),
        }
    }
}

impl fmt::Display for Done {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.sentence)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_shows_what_people_want_to_see() {
        let rows = vec![
            json!({ "id": 1, "name": "", "on": true, "user": { "name": "ann" }, "scopes": ["a", "b"] }),
            json!({ "id": 22, "name": "x", "on": false }),
        ];
        let columns = &[
            ("ID", "id"),
            ("NAME", "name"),
            ("ON", "on"),
            ("WHO", "/user/name"),
            ("MAY", "scopes"),
        ];
        let shown = Rows::new(columns, rows).to_string();
        assert_eq!(
            shown,
            "ID  NAME  ON   WHO  MAY\n1   -     yes  ann  a, b\n22  x     no   -    -"
        );
        assert_eq!(Rows::new(columns, Vec::new()).to_string(), "there is nothing");
    }
}
