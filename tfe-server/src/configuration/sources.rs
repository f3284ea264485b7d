//! Where values come from, and which one counts: a flag before the environment, that before the file, that before the default.

use std::{collections::BTreeMap, fmt, io, path::Path};

use tfe_core::secret::Secret;

use super::{
    Mistake,
    settings::{ALIASES, Form, SETTINGS, Setting, WITHOUT_MEANING},
};

/// All that was said.
#[derive(Debug, Default)]
pub struct Sources {
    /// The text of the configuration file.
    pub file: Option<Secret>,
    /// The environment.
    pub environment: Vec<(String, String)>,
    /// Flags, under the keys of their settings.
    pub flags: Vec<(&'static str, String)>,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Nobody said anything.
    Default,
    /// The configuration file.
    File,
    /// A variable of the environment, by the name that was used.
    Environment(String),
    /// A flag.
    Flag,
}

/// A value and where it came from.
#[derive(Debug, Clone)]
pub(super) struct Value {
    pub(super) text: Secret,
    pub(super) source: Source,
}

/// Values by key, and what was wrong on the way.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) values: BTreeMap<&'static str, Value>,
    pub(super) mistakes: Vec<Mistake>,
    pub(super) warnings: Vec<String>,
}

/// Reads the files that secrets are in.
pub(super) type ReadFile<'a> = &'a dyn Fn(&Path) -> io::Result<String>;

/// Puts all sources together.
pub(super) fn gather(sources: &Sources, read_file: ReadFile<'_>) -> Gathered {
    let mut gathered = Gathered::default();
    for setting in SETTINGS {
        gathered.set(setting.key, setting.default, Source::Default);
    }
    if let Some(file) = &sources.file {
        gathered.add_file(file.expose(), read_file);
    }
    gathered.add_environment(&sources.environment, read_file);
    for (key, text) in &sources.flags {
        gathered.set(key, text, Source::Flag);
    }
    gathered
}

impl Gathered {
    fn set(&mut self, key: &'static str, text: &str, source: Source) {
        self.values.insert(key, Value { text: Secret::from(text), source });
    }

    fn mistake(&mut self, setting: impl Into<String>, text: impl Into<String>) {
        self.mistakes.push(Mistake { setting: setting.into(), text: text.into() });
    }

    fn add_file(&mut self, text: &str, read_file: ReadFile<'_>) {
        let table = match text.parse::<toml::Table>() {
            Ok(table) => table,
            // Where, not what: the text around the place may be secret.
            Err(error) => {
                let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].lines().count().max(1));
                return self.mistake("the file", format!("is not TOML: {} in line {line}", error.message()));
            }
        };
        let mut seen = Vec::new();
        for (group, members) in table {
            let Some(members) = members.as_table() else {
                self.mistake(
                    group.clone(),
                    format!("stands alone; settings are in tables, like [{}]", SETTINGS[0].key.split('.').next().unwrap_or_default()),
                );
                continue;
            };
            for (name, value) in members {
                self.add_member(format!("{group}.{name}"), value, &mut seen, read_file);
            }
        }
    }

    fn add_member(&mut self, key: String, value: &toml::Value, seen: &mut Vec<&'static str>, read_file: ReadFile<'_>) {
        let direct = SETTINGS.iter().find(|setting| setting.key == key);
        let through_file = key.strip_suffix("_file").and_then(|key| secret_setting(|setting| setting.key == key));
        let Some(setting) = direct.or(through_file) else {
            let known = nearest(&key, SETTINGS.iter().map(|setting| setting.key));
            return self.mistake(key, format!("is no setting; is {known} meant?"));
        };
        let Some(text) = plain(value) else {
            return self.mistake(key, format!("is {}, not {}", value.type_str(), setting.form.expectation()));
        };
        if seen.contains(&setting.key) {
            return self.mistake(key, format!("is given twice, as {0} and as {0}_file", setting.key));
        }
        seen.push(setting.key);
        self.take(setting, key, &text, direct.is_none(), Source::File, read_file);
    }

    fn add_environment(&mut self, environment: &[(String, String)], read_file: ReadFile<'_>) {
        let mut seen: Vec<&'static str> = Vec::new();
        for (name, text) in environment.iter().filter(|(name, text)| name.starts_with("TFE_") && !text.is_empty()) {
            let own = ALIASES.iter().find(|(alias, _)| alias == name).map_or(name.as_str(), |(_, own)| own);
            let direct = SETTINGS.iter().find(|setting| setting.environment == own);
            let through_file = own.strip_suffix("_FILE").and_then(|name| secret_setting(|setting| setting.environment == name));
            match direct.or(through_file) {
                None => self.warn(name),
                Some(setting) if seen.contains(&setting.key) => {
                    self.mistake(name.clone(), format!("says what {0} or {0}_FILE says already; give one of them", setting.environment));
                }
                Some(setting) => {
                    seen.push(setting.key);
                    self.take(setting, name.clone(), text, direct.is_none(), Source::Environment(name.clone()), read_file);
                }
            }
        }
    }

    fn take(&mut self, setting: &'static Setting, name: String, text: &str, through_file: bool, source: Source, read_file: ReadFile<'_>) {
        if !through_file {
            return self.set(setting.key, text, source);
        }
        match read_file(Path::new(text)) {
            Ok(content) => self.set(setting.key, content.strip_suffix('\n').unwrap_or(&content), source),
            Err(error) => self.mistake(name, format!("names a file that cannot be read: {text}: {error}")),
        }
    }

    fn warn(&mut self, name: &str) {
        let warning = match WITHOUT_MEANING.iter().find(|(beginning, _)| name.starts_with(beginning)) {
            Some((_, reason)) if reason.starts_with("it is for") || reason.starts_with("it names") => return,
            Some((_, reason)) => format!("{name} has no meaning here: {reason}"),
            None => format!("{name} is unknown; is {} meant?", nearest(name, SETTINGS.iter().map(|setting| setting.environment))),
        };
        self.warnings.push(warning);
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File => f.write_str("file"),
            Self::Environment(name) => f.write_str(name),
            Self::Flag => f.write_str("flag"),
        }
    }
}

fn secret_setting(is_meant: impl Fn(&Setting) -> bool) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.form == Form::Secret && is_meant(setting))
}

/// A value of the file as the text that the environment would have.
fn plain(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(switch) => Some(switch.to_string()),
        toml::Value::Array(items) => items.iter().map(plain).collect::<Option<Vec<_>>>().map(|items| items.join(",")),
        _ => None,
    }
}

/// The known name that takes the fewest changes to become.
fn nearest(name: &str, known: impl Iterator<Item = &'static str>) -> &'static str {
    known.min_by_key(|known| distance(name, known)).unwrap_or_default()
}

/// How many letters must be added, removed or exchanged to make one text of the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for column in 0..other.len() {
            let exchanged = diagonal + usize::from(letter != other[column]);
            diagonal = row[column + 1];
            row[column + 1] = exchanged.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}
