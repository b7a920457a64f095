//! Texts that others wrote and people are shown: errors of engines, lines of plugins.

/// Whether a character does something else than stand there: it controls a terminal, breaks a line, turns the direction
/// of writing, or cannot be seen. The joiners of scripts that need them are not among these.
pub fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// A text as one line of at most `longest` bytes and an ellipsis: line breaks and tabs become spaces, and what is
/// [deceptive](is_deceptive) is replaced.
pub fn one_line(text: String, longest: usize) -> String {
    if text.len() <= longest && !text.contains(is_deceptive) {
        return text;
    }
    let shown = |c| match c {
        '\n' | '\r' | '\t' => ' ',
        c if is_deceptive(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    let mut line = String::with_capacity(text.len().min(longest));
    for c in text.trim_end().chars().map(shown) {
        if line.len() + c.len_utf8() > longest {
            line.push('…');
            break;
        }
        line.push(c);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_one_line_that_shows_what_is_in_it() {
        let line = |text: &str| one_line(text.to_owned(), 100);
        assert_eq!(line("a\u{1b}[2Jb\nc\td\r\n"), "a\u{fffd}[2Jb c d");
        assert_eq!(
            line("gpj.\u{202e}exe\u{2066}\u{2028}\u{e0041}\u{9b}"),
            "gpj.\u{fffd}exe\u{fffd}\u{fffd}\u{fffd}\u{fffd}"
        );
        let scripts = "Größe, 大小, می\u{200c}خواهم, 👩\u{200d}🔬";
        assert_eq!(line(scripts), scripts);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(one_line("ä".repeat(4), 5), "ää…");
        assert_eq!(one_line("ä".repeat(4), 8), "ääää");
        // What stands for another character may be longer.
        assert_eq!(one_line("\u{1b}".repeat(100), 9), "\u{fffd}\u{fffd}\u{fffd}…");
    }
}
