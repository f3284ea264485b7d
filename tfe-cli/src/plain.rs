//! Logs without colour, for pipes.

/// Takes escape sequences out of a text that comes in pieces.
#[derive(Debug, Default)]
pub struct Plain(State);

#[derive(Debug, Default)]
enum State {
    #[default]
    Text,
    /// After the escape character.
    Escape,
    /// Inside a control sequence, which ends with a letter or another of `@` to `~` (ECMA-48, 5.4).
    Sequence,
}

impl Plain {
    /// The piece without them.
    pub fn take(&mut self, piece: &str) -> String {
        piece.chars().filter(|character| self.is_text(*character)).collect()
    }

    fn is_text(&mut self, character: char) -> bool {
        let (next, is_text) = match (&self.0, character) {
            (_, '\x1b') => (State::Escape, false),
            (State::Text, _) => (State::Text, true),
            (State::Escape, '[') => (State::Sequence, false),
            (State::Escape, _) | (State::Sequence, '@'..='~') => (State::Text, false),
            (State::Sequence, _) => (State::Sequence, false),
        };
        self.0 = next;
        is_text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_taken_out_wherever_the_text_is_cut() {
        let text = "\x1b[0m\x1b[1mPlan:\x1b[0m 1 to add [ok]\n";
        for cut in 0..=text.len() {
            let mut plain = Plain::default();
            assert_eq!(plain.take(&text[..cut]) + &plain.take(&text[cut..]), "Plan: 1 to add [ok]\n");
        }
    }
}
