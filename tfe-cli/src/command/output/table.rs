//! Rows and columns, for people and for programs.

use std::fmt::Write;

/// Between two columns on a terminal.
const GAP: &str = "  ";
const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const BOLD: &str = "\x1b[1m";
const RESET: &str = "\x1b[0m";

/// Rows and columns. The names of the columns are for people only: a program wants rows.
#[derive(Debug, Default)]
pub(in crate::command) struct Table {
    names: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

/// One value.
#[derive(Debug)]
pub(in crate::command) struct Cell {
    text: String,
    is_status: bool,
}

/// A value.
pub(in crate::command) fn text(value: impl ToString) -> Cell {
    Cell { text: printable(&value.to_string()), is_status: false }
}

/// A status, coloured on a terminal by whether it is good.
pub(in crate::command) fn status(value: &str) -> Cell {
    Cell { text: printable(value), is_status: true }
}

impl Table {
    /// A table with named columns.
    pub(in crate::command) fn list(names: &[&'static str], rows: Vec<Vec<Cell>>) -> Self {
        Self { names: names.to_vec(), rows }
    }

    /// One thing: a name and a value per row.
    pub(in crate::command) fn details(rows: Vec<(&'static str, Cell)>) -> Self {
        let rows = rows.into_iter().map(|(name, value)| vec![text(name), value]);
        Self { names: Vec::new(), rows: rows.collect() }
    }

    /// The text of it.
    pub(super) fn render(&self, is_aligned: bool, has_colour: bool) -> String {
        if !is_aligned {
            let line = |row: &Vec<Cell>| row.iter().map(|cell| cell.text.as_str()).collect::<Vec<_>>().join("\t") + "\n";
            return self.rows.iter().map(line).collect();
        }
        let widths = self.widths();
        let mut out = String::new();
        if !self.names.is_empty() {
            let names = self.names.iter().map(|name| (name.to_uppercase(), has_colour.then_some(BOLD)));
            line(&mut out, names, &widths);
        }
        for row in &self.rows {
            let cells = row.iter().map(|cell| (cell.text.clone(), cell.colour().filter(|_| has_colour)));
            line(&mut out, cells, &widths);
        }
        out
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.names.iter().map(|name| name.chars().count()).collect();
        for row in &self.rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.chars().count());
            }
        }
        widths
    }
}

impl Cell {
    fn colour(&self) -> Option<&'static str> {
        if !self.is_status {
            return None;
        }
        match self.text.as_str() {
            "applied" | "planned_and_finished" | "planned_and_saved" | "finished" | "finalized" | "uploaded" => Some(GREEN),
            "errored" | "canceled" | "force_canceled" | "discarded" | "policy_soft_failed" | "unreachable" => Some(RED),
            _ => Some(YELLOW),
        }
    }
}

fn line(out: &mut String, cells: impl Iterator<Item = (String, Option<&'static str>)>, widths: &[usize]) {
    let begin = out.len();
    for (index, ((text, colour), width)) in cells.zip(widths).enumerate() {
        let gap = if index == 0 { "" } else { GAP };
        let padding = " ".repeat(width - text.chars().count());
        let (on, off) = colour.map_or(("", ""), |colour| (colour, RESET));
        write!(out, "{gap}{on}{text}{off}{padding}").expect("a string takes every text");
    }
    out.truncate(begin + out[begin..].trim_end_matches(' ').len());
    out.push('\n');
}

/// One line without control characters: names and messages are others' words, and a terminal obeys what it is sent.
fn printable(value: &str) -> String {
    value.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table::list(
            &["id", "status", "message"],
            vec![vec![text("run-1"), status("applied"), text("first\x1b[2J")], vec![text("run-22"), status("errored"), text("")]],
        )
    }

    #[test]
    fn a_terminal_gets_columns() {
        let aligned = "ID      STATUS   MESSAGE\nrun-1   applied  first [2J\nrun-22  errored\n";
        assert_eq!(table().render(true, false), aligned);
        let coloured = table().render(true, true);
        assert!(coloured.contains("\x1b[32mapplied\x1b[0m  first") && coloured.contains("\x1b[31merrored"), "{coloured:?}");
    }

    #[test]
    fn a_pipe_gets_tabs_and_rows_only() {
        assert_eq!(table().render(false, false), "run-1\tapplied\tfirst [2J\nrun-22\terrored\t\n");
    }
}
