//! Output for people: aligned tables and `key: value` lines.

/// A table with a heading, its columns two spaces apart.
pub(super) fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = heading.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    push_row(&mut text, &widths, heading.iter().copied());
    for row in rows {
        push_row(&mut text, &widths, row.iter().map(String::as_str));
    }
    text
}

/// One `key: value` a line.
pub(super) fn fields(fields: &[(&str, String)]) -> String {
    fields.iter().map(|(key, value)| format!("{key}: {value}\n")).collect()
}

/// A list in one cell; `-` where it is empty.
pub(super) fn joined(items: impl IntoIterator<Item = String>) -> String {
    let text = items.into_iter().collect::<Vec<_>>().join(", ");
    if text.is_empty() { "-".to_owned() } else { text }
}

/// A text that somebody else may have chosen, without what would move the cursor.
pub(super) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

fn push_row<'c>(text: &mut String, widths: &[usize], cells: impl Iterator<Item = &'c str>) {
    let mut line = String::new();
    for (width, cell) in widths.iter().zip(cells) {
        line.push_str(&format!("{cell:width$}  "));
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_printable_moves_the_cursor() {
        assert_eq!(printable("a\u{1b}[2Jb\nc ü"), "a\\u{1b}[2Jb\\nc ü");
    }

    #[test]
    fn columns_are_aligned_and_lines_end_without_spaces() {
        let rows =
            vec![vec!["1".to_owned(), "Zoë".to_owned()], vec!["22".to_owned(), "x".to_owned()]];
        assert_eq!(table(&["id", "name"], &rows), "id  name\n1   Zoë\n22  x\n");
    }
}
