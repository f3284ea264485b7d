//! As much of HCL as a command line configuration has: blocks, attributes, plain strings, numbers, lists and objects.
//!
//! No templates and no expressions: terraform does not evaluate them in this file either. What is not understood is an
//! error with its line, because a guess could send a token to the wrong server.

use std::{iter::Peekable, str::Chars};

/// How deep values may be nested; more is no configuration.
const MAX_DEPTH: usize = 32;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// A string.
    Text(String),
    /// A number; this file's numbers are ports.
    Number(f64),
    /// true, false or null: nothing here depends on which.
    Word,
    /// A list.
    List(Vec<Value>),
    /// Keys with values, and nested blocks.
    Object(Vec<Item>),
}

/// An attribute or a block: a block is an attribute with labels whose value is an object.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Item {
    /// The attribute's key or the block's kind.
    pub(super) name: String,
    /// The block's labels.
    pub(super) labels: Vec<String>,
    /// The value or content.
    pub(super) value: Value,
}

impl Value {
    /// The value of a key of an object.
    pub(super) fn key(&self, name: &str) -> Option<&Value> {
        let Self::Object(items) = self else { return None };
        items.iter().find(|item| item.name == name && item.labels.is_empty()).map(|item| &item.value)
    }

    /// The text, if it is one.
    pub(super) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
}

/// Reads a whole file; an error says what is wrong in which line, and never quotes a value, which may be a token.
pub(super) fn parse(text: &str) -> Result<Vec<Item>, String> {
    let mut parser = Parser { rest: text.chars().peekable(), line: 1, depth: 0 };
    parser.items(None).map_err(|reason| format!("line {}: {reason}", parser.line))
}

struct Parser<'a> {
    rest: Peekable<Chars<'a>>,
    line: usize,
    depth: usize,
}

impl Parser<'_> {
    /// Items up to the closing brace, or to the end of the file.
    fn items(&mut self, end: Option<char>) -> Result<Vec<Item>, String> {
        let mut items = Vec::new();
        loop {
            self.space()?;
            match (self.rest.peek().copied(), end) {
                (next, end) if next == end => {
                    self.advance();
                    return Ok(items);
                }
                (None, _) => return Err("a closing brace is missing".to_owned()),
                (Some(','), Some(_)) => {
                    self.advance();
                }
                _ => items.push(self.item()?),
            }
        }
    }

    fn item(&mut self) -> Result<Item, String> {
        let name = self.name()?;
        let mut labels = Vec::new();
        loop {
            self.space()?;
            match self.rest.peek() {
                Some('=' | ':') if labels.is_empty() => {
                    self.advance();
                    return Ok(Item { name, labels, value: self.value()? });
                }
                Some('{') => return Ok(Item { name, labels, value: self.value()? }),
                Some('"') => labels.push(self.name()?),
                Some(character) if is_word(*character) => labels.push(self.name()?),
                _ => return Err(format!("after {name:?} an equals sign or a block in braces must follow")),
            }
        }
    }

    fn name(&mut self) -> Result<String, String> {
        match self.rest.peek() {
            Some('"') => self.string(),
            Some(character) if is_word(*character) => Ok(self.word()),
            Some(character) => Err(format!("a name must come here, not {character:?}")),
            None => Err("the file ends where a name must come".to_owned()),
        }
    }

    fn value(&mut self) -> Result<Value, String> {
        self.space()?;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("values are nested more than {MAX_DEPTH} deep"));
        }
        let value = match self.rest.peek().copied() {
            Some('"') => self.string().map(Value::Text),
            Some('{') => {
                self.advance();
                self.items(Some('}')).map(Value::Object)
            }
            Some('[') => self.list(),
            Some(character) if is_word(character) => bare(&self.word()),
            Some(character) => Err(format!("a value must come here, not {character:?}")),
            None => Err("the file ends where a value must come".to_owned()),
        };
        self.depth -= 1;
        value
    }

    fn list(&mut self) -> Result<Value, String> {
        self.advance();
        let mut values = Vec::new();
        loop {
            self.space()?;
            if self.rest.peek() == Some(&']') {
                self.advance();
                return Ok(Value::List(values));
            }
            values.push(self.value()?);
            self.space()?;
            match self.rest.peek() {
                Some(',') => {
                    self.advance();
                }
                Some(']') => {}
                _ => return Err("in a list a comma or the closing bracket must follow".to_owned()),
            }
        }
    }

    fn string(&mut self) -> Result<String, String> {
        self.advance();
        let mut text = String::new();
        loop {
            match self.advance() {
                Some('"') => return Ok(text),
                Some('\\') => text.push(self.escape()?),
                Some('$' | '%') if self.rest.peek() == Some(&'{') => return Err("templates in strings are not supported".to_owned()),
                Some('\n') | None => return Err("a string has no closing quote".to_owned()),
                Some(character) => text.push(character),
            }
        }
    }

    fn escape(&mut self) -> Result<char, String> {
        match self.advance() {
            Some('n') => Ok('\n'),
            Some('r') => Ok('\r'),
            Some('t') => Ok('\t'),
            Some(character @ ('"' | '\\')) => Ok(character),
            Some('u') => self.code_point(4),
            Some('U') => self.code_point(8),
            _ => Err("a backslash must be followed by n, r, t, u, a quote or a backslash".to_owned()),
        }
    }

    fn code_point(&mut self, digits: usize) -> Result<char, String> {
        let text: String = (0..digits).filter_map(|_| self.advance()).collect();
        let character = u32::from_str_radix(&text, 16).ok().and_then(char::from_u32);
        character.ok_or_else(|| "a \\u escape is not a character".to_owned())
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(character) = self.rest.next_if(|character| is_word(*character)) {
            word.push(character);
        }
        word
    }

    /// Skips blanks and comments.
    fn space(&mut self) -> Result<(), String> {
        while let Some(character) = self.rest.peek().copied() {
            match character {
                '#' => self.skip_line(),
                '/' => self.comment()?,
                // Some editors begin a file with the mark U+FEFF.
                character if character.is_whitespace() || character == '\u{feff}' => {
                    self.advance();
                }
                _ => break,
            }
        }
        Ok(())
    }

    fn comment(&mut self) -> Result<(), String> {
        self.advance();
        match self.advance() {
            Some('/') => {
                self.skip_line();
                Ok(())
            }
            Some('*') => self.skip_block(),
            _ => Err("a slash must begin a comment".to_owned()),
        }
    }

    fn skip_line(&mut self) {
        while self.rest.next_if(|character| *character != '\n').is_some() {}
    }

    fn skip_block(&mut self) -> Result<(), String> {
        while let Some(character) = self.advance() {
            if character == '*' && self.rest.peek() == Some(&'/') {
                self.advance();
                return Ok(());
            }
        }
        Err("a comment has no end".to_owned())
    }

    fn advance(&mut self) -> Option<char> {
        let character = self.rest.next();
        self.line += usize::from(character == Some('\n'));
        character
    }
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '-' | '.' | '+')
}

fn bare(word: &str) -> Result<Value, String> {
    if matches!(word, "true" | "false" | "null") {
        return Ok(Value::Word);
    }
    word.parse().map(Value::Number).map_err(|_| "a value must be in quotes unless it is a number, true or false".to_owned())
}

#[cfg(test)]
#[path = "hcl_tests.rs"]
mod tests;
