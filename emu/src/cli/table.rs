//! Text in columns.

use super::colour::{Colour, paint};

/// How a column is laid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// One line for each row, columns as wide as their widest cell and two blanks apart, no blanks at the end.
pub(super) fn lines(rows: &[Vec<String>], alignment: &[Align]) -> Vec<String> {
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..alignment.len()).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).zip(alignment).map(|((cell, &width), align)| match align {
            Align::Left => format!("{cell:<width$}"),
            Align::Right => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// A table under a head, its rows that are bad in a colour.
pub(super) fn text(head: &[(&str, Align)], rows: impl Iterator<Item = (Vec<String>, bool)>, coloured: bool) -> String {
    let alignment: Vec<Align> = head.iter().map(|(_, align)| *align).collect();
    let (mut cells, mut colours) =
        (vec![head.iter().map(|(title, _)| (*title).to_owned()).collect()], vec![Some(Colour::Faint)]);
    for (row, is_bad) in rows {
        cells.push(row);
        colours.push(is_bad.then_some(Colour::Bad));
    }
    let paint = |(line, colour): (String, Option<Colour>)| match colour {
        Some(colour) => paint(&line, colour, coloured) + "\n",
        None => line + "\n",
    };
    lines(&cells, &alignment).into_iter().zip(colours).map(paint).collect()
}

/// `number` with its thousands parted: 1,234,567.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many of a thing whose plural ends in s: `1 state`, `1,234 states`.
pub(super) fn counted(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", grouped(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["a".into(), "1".into()], vec!["long".into(), "100".into()]];
        assert_eq!(lines(&rows, &[Align::Left, Align::Right]), ["a       1", "long  100"]);
    }

    #[test]
    fn one_thing_is_no_plural() {
        assert_eq!([0, 1, 1_234].map(|number| counted(number, "state")), ["0 states", "1 state", "1,234 states"]);
    }

    #[test]
    fn thousands_are_parted() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
