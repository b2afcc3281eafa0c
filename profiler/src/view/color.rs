//! Lines of styled text, and how a terminal is told about the style.

use super::layout::{EMOJI_STYLE, TIE};

/// What a piece of text means; the colour follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As it is.
    Plain,
    /// To be read first.
    Strong,
    /// To be read last.
    Faint,
    /// Time on a CPU.
    Running,
    /// Time waiting for a CPU.
    Runnable,
    /// Other waits.
    Blocked,
    /// A warning.
    Warning,
}

impl Style {
    /// Parameters of the ANSI sequence "select graphic rendition" (ECMA-48).
    const fn parameters(self) -> Option<&'static str> {
        match self {
            Style::Plain => None,
            Style::Strong => Some("1"),
            Style::Faint => Some("2"),
            Style::Running => Some("32"),
            Style::Runnable => Some("33"),
            Style::Blocked => Some("31"),
            Style::Warning => Some("1;33"),
        }
    }
}

/// A line of text.
#[derive(Clone, Debug, Default)]
pub struct Line(Vec<(Style, String)>);

impl Line {
    /// A line of one style.
    pub fn new(style: Style, text: impl Into<String>) -> Self {
        Self(vec![(style, text.into())])
    }

    /// Appends text.
    pub fn push(&mut self, style: Style, text: impl Into<String>) {
        self.0.push((style, text.into()));
    }

    /// Further to the right.
    pub fn indented(mut self, by: usize) -> Self {
        self.0.insert(0, (Style::Plain, " ".repeat(by)));
        self
    }

    /// Its text, without styles.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.write_to(&mut text, false);
        text.trim().to_owned()
    }

    /// Appends the line to the output, with its end.
    pub fn write_to(&self, output: &mut String, color: bool) {
        let begin = output.len();
        for (style, text) in &self.0 {
            match style.parameters().filter(|_| color && !text.is_empty()) {
                Some(parameters) => {
                    output.push_str("\u{1b}[");
                    output.push_str(parameters);
                    output.push('m');
                    push_safe(output, text);
                    output.push_str("\u{1b}[0m");
                }
                None => push_safe(output, text),
            }
        }
        let end = output.trim_end_matches(' ').len().max(begin);
        output.truncate(end);
        output.push('\n');
    }
}

/// Names come from the target. The collector has cleaned them; a control character that is there
/// all the same does not reach the terminal.
fn push_safe(output: &mut String, text: &str) {
    let safe = text.chars().filter(|character| *character != EMOJI_STYLE);
    output.extend(safe.map(|character| match character {
        TIE => ' ',
        _ if character.is_control() => '\u{fffd}',
        _ => character,
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_appear_only_when_asked_for() {
        let mut line = Line::new(Style::Strong, "a\u{1b}b");
        line.push(Style::Plain, "c  ");
        let mut plain = String::new();
        line.write_to(&mut plain, false);
        assert_eq!(plain, "a\u{fffd}bc\n");
        let mut colored = String::new();
        line.write_to(&mut colored, true);
        assert_eq!(colored, "\u{1b}[1ma\u{fffd}b\u{1b}[0mc\n");
    }
}
