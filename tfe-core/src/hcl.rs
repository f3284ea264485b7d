//! Writing values into HCL text, where a variable's value must stay a value.

use std::fmt::Write;

/// A quoted string that HCL reads back as exactly this text.
///
/// `${` and `%{` begin templates inside quotes; without the doubled sign a value could read files or other variables
/// (HCL native syntax specification, "Template Expressions").
pub fn string_literal(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('"');
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' => literal.push_str("\\\""),
            '\\' => literal.push_str("\\\\"),
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            '\t' => literal.push_str("\\t"),
            '$' | '%' if characters.peek() == Some(&'{') => literal.extend([character, character]),
            character if character.is_control() || is_line_separator(character) => {
                write!(literal, "\\u{:04x}", u32::from(character)).expect("a string takes every text");
            }
            character => literal.push(character),
        }
    }
    literal.push('"');
    literal
}

/// Whether it can name a variable: a letter or underscore, then letters, digits, underscores and dashes
/// (HCL native syntax specification, "Identifiers").
pub fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_') && text.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-')
}

fn is_line_separator(character: char) -> bool {
    matches!(character, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_special_character_is_escaped() {
        for (text, literal) in [
            ("", r#""""#),
            ("plain", r#""plain""#),
            ("a \"b\"", r#""a \"b\"""#),
            (r"c:\temp", r#""c:\\temp""#),
            ("one\ntwo\r\n\tthree", r#""one\ntwo\r\n\tthree""#),
            ("${var.x}", r#""$${var.x}""#),
            ("%{ if true }", r#""%%{ if true }""#),
            ("$5 100% $ {", r#""$5 100% $ {""#),
            ("$${already}", r#""$$${already}""#),
            ("\u{1b}[0m\u{0}\u{2028}", r#""\u001b[0m\u0000\u2028""#),
            ("grün 🌲", r#""grün 🌲""#),
        ] {
            assert_eq!(string_literal(text), literal, "{text:?}");
        }
    }

    #[test]
    fn identifiers_name_variables() {
        for name in ["region", "_x", "a-b", "subnet_ids2", "größe"] {
            assert!(is_identifier(name), "{name}");
        }
        for name in ["", "1a", "-a", "a b", "a.b", "a\"", "${x}", "a\n"] {
            assert!(!is_identifier(name), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn a_literal_stays_one_quoted_line(text in r#"(\PC|[\n\r\t"\\$%{}])*"#) {
            let literal = string_literal(&text);
            prop_assert!(!literal.contains(['\n', '\r', '\0']));
            let inside = literal.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap();
            let unescaped = inside.replace("\\\\", "").replace("\\\"", "");
            prop_assert!(!unescaped.contains('"'), "{literal}");
        }

        #[test]
        fn a_literal_begins_no_template(text in r#"[a$%{}"\\]{0,12}"#) {
            prop_assert_eq!(literal_text(&string_literal(&text)), Some(text));
        }
    }

    /// What HCL reads: `$${` and `%%{` are `${` and `%{`; a lone `${` or `%{` would be a template.
    fn literal_text(literal: &str) -> Option<String> {
        let mut rest = literal.strip_prefix('"')?.strip_suffix('"')?;
        let mut text = String::new();
        while let Some(character) = rest.chars().next() {
            let (taken, meaning) = match rest {
                _ if rest.starts_with("$${") => (3, "${"),
                _ if rest.starts_with("%%{") => (3, "%{"),
                _ if rest.starts_with("${") || rest.starts_with("%{") => return None,
                _ if rest.starts_with("\\\\") => (2, "\\"),
                _ if rest.starts_with("\\\"") => (2, "\""),
                _ => (character.len_utf8(), &rest[..character.len_utf8()]),
            };
            text.push_str(meaning);
            rest = &rest[taken..];
        }
        Some(text)
    }
}
