//! What is printed: tables for people, tabs for pipes, JSON for programs.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::Failure;

/// How to print.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    json: bool,
    is_terminal: bool,
}

/// What a list looks like to people: titles, and a row of texts for each item.
pub(super) struct Table<const N: usize> {
    pub(super) titles: [&'static str; N],
    pub(super) rows: Vec<[String; N]>,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self { json, is_terminal: io::stdout().is_terminal() }
    }

    /// Whether logs and words are wanted, or one JSON document at the end.
    pub(super) fn is_json(self) -> bool {
        self.json
    }

    /// A list, as JSON or as a table.
    pub(super) fn list<T: Serialize, const N: usize>(self, items: &[T], titles: [&'static str; N], row: impl Fn(&T) -> [String; N]) -> Result<(), Failure> {
        if self.json {
            return print_json(&items);
        }
        let table = Table { titles, rows: items.iter().map(row).collect() };
        print(&if self.is_terminal { aligned(&table) } else { tabbed(&table) })
    }

    /// One thing, as JSON or as lines of names and values.
    pub(super) fn one<T: Serialize>(self, item: &T, lines: &[(&str, String)]) -> Result<(), Failure> {
        if self.json {
            return print_json(item);
        }
        let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        let text: String = lines
            .iter()
            .map(|(name, value)| if self.is_terminal { format!("{name:width$}  {}\n", coloured(value)) } else { format!("{name}\t{value}\n") })
            .collect();
        print(&text)
    }

    /// Words for people; programs that asked for JSON do not get them.
    pub(super) fn say(self, text: &str) -> Result<(), Failure> {
        if self.json { Ok(()) } else { print(&format!("{text}\n")) }
    }
}

/// Prints text as it is. A reader that went away ends the program's work, as it does for other tools.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    Ok(out.write_all(text.as_bytes()).and_then(|()| out.flush())?)
}

/// Prints an error.
pub(super) fn complain(text: &str) {
    // There is nobody left to tell when this fails.
    let _ = writeln!(io::stderr(), "error: {text}");
}

fn print_json<T: Serialize>(value: &T) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(io::Error::other)?;
    print(&(text + "\n"))
}

fn tabbed<const N: usize>(table: &Table<N>) -> String {
    table.rows.iter().map(|row| row.join("\t") + "\n").collect()
}

fn aligned<const N: usize>(table: &Table<N>) -> String {
    let mut widths = table.titles.map(str::len);
    for row in &table.rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let titles = line(&table.titles.map(str::to_uppercase), &widths, str::to_owned);
    let rows = table.rows.iter().map(|row| line(row, &widths, coloured));
    std::iter::once(titles).chain(rows).collect()
}

fn line<const N: usize>(cells: &[String; N], widths: &[usize; N], paint: fn(&str) -> String) -> String {
    let padded = cells.iter().zip(widths).map(|(cell, width)| paint(cell) + &" ".repeat(width - cell.chars().count()));
    let text = padded.collect::<Vec<_>>().join("  ");
    format!("{}\n", text.trim_end())
}

/// The text, in a colour if it is the status of something.
pub(super) fn coloured(text: &str) -> String {
    let colour = match text {
        "applied" | "planned_and_finished" | "planned_and_saved" | "finalized" => 32,
        "errored" | "canceled" | "force_canceled" | "discarded" | "locked" => 31,
        "planned" => 33,
        "pending" | "plan_queued" | "planning" | "confirmed" | "apply_queued" | "applying" => 36,
        _ => return text.to_owned(),
    };
    format!("\u{1b}[{colour}m{text}\u{1b}[0m")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_is_in_them() {
        let table = Table { titles: ["name", "status"], rows: vec![["ä".to_owned(), "applied".to_owned()], ["long one".to_owned(), String::new()]] };
        assert_eq!(aligned(&table), "NAME      STATUS\nä         \u{1b}[32mapplied\u{1b}[0m\nlong one\n");
        assert_eq!(tabbed(&table), "ä\tapplied\nlong one\t\n");
    }
}
