//! A CLI configuration that takes some providers from a directory and all others from where it took them before.
//!
//! Each method of `provider_installation` is asked about each provider that it includes, and one that does not answer
//! ends `init`. So the others must exclude what the directory has. There may be one such block only, which is
//! therefore changed where there is one. What is not understood is left alone, and nothing comes from the directory.

use std::path::Path;

use tfe_core::hcl;

/// The one block that says where providers come from.
pub(super) const BLOCK: &str = "provider_installation";
/// A method that says where programs under development are, and nothing of installation.
const OVERRIDES: &str = "dev_overrides";

/// The operator's text with the directory as the first source of these providers. None if it is not understood.
pub(super) fn with_directory(text: &str, directory: &Path, addresses: &[&str]) -> Option<String> {
    let list = addresses.iter().map(|address| hcl::string_literal(address)).collect::<Vec<_>>().join(", ");
    let path = hcl::string_literal(&directory.to_string_lossy());
    let mirror = format!("  filesystem_mirror {{\n    path    = {path}\n    include = [{list}]\n  }}\n");
    let tokens = tokens(text)?;
    let mut blocks = tokens.windows(2).enumerate().filter(|(_, pair)| pair[0].is_word(BLOCK) && pair[0].depth == 0);
    let Some((index, pair)) = blocks.next() else {
        return Some(format!("{text}\n{BLOCK} {{\n{mirror}  direct {{\n    exclude = [{list}]\n  }}\n}}\n"));
    };
    if blocks.next().is_some() || !pair[1].is("{") {
        return None;
    }
    let mut insertions = vec![(pair[1].end, format!("\n{mirror}"))];
    let members = tokens[index + 2..].iter().take_while(|token| token.depth > 0);
    let members: Vec<_> = members.collect();
    for (index, token) in members.iter().enumerate() {
        // The methods are what stands directly in the block, each a name and its own block.
        if token.depth != 1 || token.is("}") {
            continue;
        }
        match members.get(index + 1) {
            _ if token.is("{") => {}
            Some(next) if next.is("{") => {
                if !token.is_word(OVERRIDES) {
                    insertions.push(exclusion(&members[index + 2..], next.end, &list)?);
                }
            }
            _ => return None,
        }
    }
    insertions.sort();
    let mut changed = text.to_owned();
    for (position, addition) in insertions.iter().rev() {
        changed.insert_str(*position, addition);
    }
    Some(changed)
}

/// Where and how a method is told to leave these providers out.
fn exclusion(rest: &[&Token<'_>], begin: usize, list: &str) -> Option<(usize, String)> {
    let inner: Vec<_> = rest.iter().take_while(|token| token.depth > 1).collect();
    let mut excludes = inner.windows(3).filter(|three| three[0].is_word("exclude"));
    match (excludes.next(), excludes.next()) {
        (None, _) => Some((begin, format!("\n    exclude = [{list}]\n   "))),
        (Some([_, equals, open]), None) if equals.is("=") && open.is("[") => Some((open.end, format!("{list}, "))),
        _ => None,
    }
}

/// A word, a string or a sign.
#[derive(Debug, Clone, Copy)]
struct Token<'t> {
    text: &'t str,
    /// In how many braces it is; an opening one is outside of itself and a closing one too.
    depth: usize,
    /// Where the next one may begin.
    end: usize,
}

impl Token<'_> {
    fn is(&self, text: &str) -> bool {
        self.text == text
    }

    /// Names of blocks may be quoted.
    fn is_word(&self, word: &str) -> bool {
        self.text == word || self.text.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')) == Some(word)
    }
}

/// The tokens of a text without its comments. None if something is not closed, or is of a kind that no CLI
/// configuration needs: a text in JSON, or one of several lines.
fn tokens(text: &str) -> Option<Vec<Token<'_>>> {
    let (mut found, mut depth, mut position) = (Vec::new(), 0_usize, 0);
    while let Some(first) = text[position..].chars().next() {
        let rest = &text[position..];
        let length = match first {
            _ if first.is_whitespace() => first.len_utf8(),
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/")? + 2,
            '<' => return None,
            '"' => string_length(rest)?,
            _ if is_word(first) => rest.find(|character| !is_word(character)).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let token = &rest[..length];
        position += length;
        if first.is_whitespace() || first == '#' || token.starts_with("//") || token.starts_with("/*") {
            continue;
        }
        if first == '}' {
            depth = depth.checked_sub(1)?;
        }
        found.push(Token { text: token, depth, end: position });
        if first == '{' {
            depth += 1;
        }
    }
    let is_json = found.first().is_some_and(|token| token.is("{"));
    (depth == 0 && !is_json).then_some(found)
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_' || character == '-' || character == '.'
}

/// How long a text is that begins with a string, up to the end of it.
fn string_length(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    for (position, character) in text.char_indices().skip(1) {
        match character {
            '"' if !is_escaped => return Some(position + 1),
            '\n' => return None,
            _ => is_escaped = character == '\\' && !is_escaped,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(text: &str) -> Option<String> {
        with_directory(text, Path::new("/cache"), &["a/b/c", "d/e/f"])
    }

    #[test]
    fn without_methods_the_rest_comes_directly() {
        let text = changed("disable_checkpoint = true\n# provider_installation {\n").unwrap();
        assert!(text.starts_with("disable_checkpoint = true\n"), "{text}");
        assert!(text.contains("filesystem_mirror {\n    path    = \"/cache\"\n    include = [\"a/b/c\", \"d/e/f\"]"), "{text}");
        assert!(text.contains("direct {\n    exclude = [\"a/b/c\", \"d/e/f\"]"), "{text}");
    }

    #[test]
    fn every_other_method_leaves_them_out() {
        let text = changed(
            "credentials \"x\" { token = \"}\" }\nprovider_installation { # first {\n  network_mirror {\n    url = \"https://m/\"\n    exclude = \
             [\"g/h/*\"]\n  }\n  dev_overrides { \"a/b/c\" = \"/dev\" }\n  \"filesystem_mirror\" { path = \"/m\" }\n  direct {}\n}\nx = 1\n",
        )
        .unwrap();
        let list = "\"a/b/c\", \"d/e/f\"";
        let expected = format!(
            "credentials \"x\" {{ token = \"}}\" }}\nprovider_installation {{\n  filesystem_mirror {{\n    path    = \"/cache\"\n    include = \
             [{list}]\n  }}\n # first {{\n  network_mirror {{\n    url = \"https://m/\"\n    exclude = [{list}, \"g/h/*\"]\n  }}\n  \
             dev_overrides {{ \"a/b/c\" = \"/dev\" }}\n  \"filesystem_mirror\" {{\n    exclude = [{list}]\n    path = \"/m\" }}\n  \
             direct {{\n    exclude = [{list}]\n   }}\n}}\nx = 1\n"
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn what_is_not_understood_is_left_alone() {
        for text in [
            "{\"provider_installation\": {}}",
            "provider_installation {",
            "provider_installation = 1",
            "provider_installation {\n direct = {}\n}",
            "provider_installation {}\nprovider_installation {}",
            "provider_installation { direct { exclude = 1 } }",
            "x = <<EOT\nprovider_installation {\nEOT\n",
            "x = \"\n\"",
            "}",
            "/* ",
        ] {
            assert_eq!(changed(text), None, "{text}");
        }
    }
}
