//! Texts in cells of a terminal.

use ratatui::text::Span;

/// Cells that a text takes.
pub(super) fn width_of(text: &str) -> u16 {
    u16::try_from(Span::raw(text).width()).unwrap_or(u16::MAX)
}

/// Breaks lines that are too long, at spaces where there are any.
pub(super) fn wrap(lines: &[String], width: u16) -> Vec<String> {
    let width = width.max(8);
    let mut wrapped = Vec::new();
    for line in lines {
        let mut now = String::new();
        for word in line.split_inclusive(' ') {
            if width_of(&now).saturating_add(width_of(word.trim_end())) > width
                && !now.trim().is_empty()
            {
                wrapped.push(std::mem::replace(&mut now, "    ".to_owned()));
            }
            for c in word.chars() {
                if width_of(&now) >= width && c != ' ' {
                    wrapped.push(std::mem::replace(&mut now, "    ".to_owned()));
                }
                now.push(c);
            }
        }
        wrapped.push(now);
    }
    wrapped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_broken() {
        let lines = [
            "one two three four".to_owned(),
            String::new(),
            "x".repeat(20),
        ];
        assert_eq!(
            wrap(&lines, 10),
            [
                "one two ",
                "    three ",
                "    four",
                "",
                "xxxxxxxxxx",
                "    xxxxxx",
                "    xxxx"
            ]
        );
    }
}
