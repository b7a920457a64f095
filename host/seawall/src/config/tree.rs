//! Tables of a file: taken apart value by value, and written with something behind each value.

use toml::{Table, Value};

/// Calls `each` with every value that is no table, in the order in which [`text`] has them. An empty table is a value.
pub(super) fn walk<'a>(table: &'a Table, each: &mut impl FnMut(&[&'a str], &'a Value)) {
    fn step<'a>(table: &'a Table, above: &mut Vec<&'a str>, each: &mut impl FnMut(&[&'a str], &'a Value)) {
        for (key, value) in values(table) {
            above.push(key);
            each(above, value);
            above.pop();
        }
        for (key, inner) in tables(table) {
            above.push(key);
            step(inner, above, each);
            above.pop();
        }
    }
    step(table, &mut Vec::new(), each);
}

/// As a file, with what `behind` says as a remark behind each value.
pub(super) fn text(table: &Table, behind: &mut impl FnMut(&[&str]) -> String) -> String {
    fn step<'a>(
        table: &'a Table,
        above: &mut Vec<&'a str>,
        behind: &mut impl FnMut(&[&str]) -> String,
        text: &mut String,
    ) {
        let mut values = values(table).peekable();
        if values.peek().is_some() && !above.is_empty() {
            text.push_str(&format!("\n[{}]\n", dotted(above)));
        }
        for (key, value) in values {
            above.push(key);
            // What is behind must end with the line.
            let behind = behind(above).replace(|c: char| c.is_control(), " ");
            above.pop();
            text.push_str(&format!("{} = {value} # {behind}\n", quoted(key)));
        }
        for (key, inner) in tables(table) {
            above.push(key);
            step(inner, above, behind, text);
            above.pop();
        }
    }
    let mut written = String::new();
    step(table, &mut Vec::new(), behind, &mut written);
    written
}

fn values(table: &Table) -> impl Iterator<Item = (&str, &Value)> {
    let plain = |value: &Value| value.as_table().is_none_or(Table::is_empty);
    table.iter().filter(move |(_, value)| plain(value)).map(|(key, value)| (key.as_str(), value))
}

fn tables(table: &Table) -> impl Iterator<Item = (&str, &Table)> {
    table.iter().filter_map(|(key, value)| Some((key.as_str(), value.as_table().filter(|inner| !inner.is_empty())?)))
}

/// A key as it stands in a file, with its tables.
pub(super) fn dotted(keys: &[&str]) -> String {
    keys.iter().map(|key| quoted(key)).collect::<Vec<_>>().join(".")
}

fn quoted(key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if bare { key.to_owned() } else { basic(key) }
}

/// A text between double quotes, on one line.
fn basic(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            letter if letter.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(letter))),
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_whatever_its_keys_and_values() {
        let table: Table =
            "a = 1\n\"b c\" = [1, 2]\n\"q\\\"\\\\\\n\" = \"x\\ny\"\ne = {}\nl = [{ x = 1 }, { y = {} }]\n\
                            [t]\n[t.\"u.v\"]\nw = 1.5\n[t.z]\ns = \"\"\"two\nlines\"\"\""
                .parse()
                .unwrap();
        let mut keys = Vec::new();
        walk(&table, &mut |path, _| keys.push(dotted(path)));
        let mut behind = Vec::new();
        let written = text(&table, &mut |path| {
            behind.push(dotted(path));
            "from\nsomewhere".to_owned()
        });
        assert_eq!(written.parse::<Table>().unwrap_or_else(|error| panic!("{error}\n{written}")), table);
        assert_eq!(keys, behind);
        assert_eq!(keys, ["a", "\"b c\"", "e", "l", "\"q\\\"\\\\\\u000A\"", "t.\"u.v\".w", "t.z.s"]);
    }
}
