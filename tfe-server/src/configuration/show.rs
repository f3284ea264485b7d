//! Showing what can be set and what is set, without secrets.

use std::{collections::BTreeMap, fmt::Write};

use serde::Serialize;
use tfe_core::secret::Secret;

use super::{
    settings::{Form, SETTINGS, Setting},
    sources::Value,
};

/// What stands for a secret that is set.
const HIDDEN: &str = "(set)";

/// A setting as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// Its name in the file.
    pub key: &'static str,
    /// Its value; for a secret only whether there is one.
    pub value: String,
    /// Where it came from.
    pub source: String,
}

/// All settings, with secrets hidden.
pub(super) fn shown(values: &BTreeMap<&'static str, Value>) -> Vec<Shown> {
    let shown = SETTINGS.iter().map(|setting| {
        let Value { text, source } = &values[setting.key];
        Shown { key: setting.key, value: visible(setting, text.expose()), source: source.to_string() }
    });
    shown.collect()
}

/// A value without what is secret in it.
fn visible(setting: &Setting, text: &str) -> String {
    match (&setting.form, text.split_once('?')) {
        (Form::Secret, _) if !text.is_empty() => HIDDEN.to_owned(),
        (Form::Place, Some((address, options))) if address.contains("://") => {
            let names =
                options.split('&').map(|option| option.split_once('=').map_or(HIDDEN.to_owned(), |(name, _)| format!("{name}={HIDDEN}")));
            format!("{address}?{}", names.collect::<Vec<_>>().join("&"))
        }
        _ => text.to_owned(),
    }
}

/// A configuration file with every setting that is not the default, secrets too.
pub(super) fn file(values: &BTreeMap<&'static str, Value>) -> Secret {
    let mut text = String::new();
    let mut group = "";
    for setting in SETTINGS {
        let value = values[setting.key].text.expose();
        if value == setting.default {
            continue;
        }
        let (table, name) = setting.key.split_once('.').unwrap_or(("", setting.key));
        if table != group {
            let _ = writeln!(text, "[{table}]");
            group = table;
        }
        let is_bare = matches!(setting.form, Form::Switch | Form::Number(_));
        let value = if is_bare { value.to_owned() } else { quoted(value) };
        let _ = writeln!(text, "{name} = {value}");
    }
    Secret::from(text)
}

/// A TOML string. JSON's escapes are TOML's too, but for one character that TOML wants escaped.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// A configuration file with every setting, its default, and what it is for; everything is a comment.
pub fn default_file() -> String {
    let mut text = String::from(
        "# The configuration of tfe-server. Every line that begins with # is a comment; remove the # to set something.\n\
         # The environment wins over this file, and flags win over both. Secrets can also be in files: password_file = \"…\".\n",
    );
    let mut group = "";
    for setting in SETTINGS {
        let (table, name) = setting.key.split_once('.').unwrap_or(("", setting.key));
        if table != group {
            let _ = write!(text, "\n[{table}]\n");
            group = table;
        }
        let _ = write!(text, "# {} ({})\n# {name} = {}\n", setting.about, setting.environment, example(setting));
    }
    text
}

/// The default as TOML, or what kind of value is expected.
fn example(setting: &Setting) -> String {
    match &setting.form {
        Form::Switch | Form::Number(_) => setting.default.to_owned(),
        Form::Choice(choices) if setting.default.is_empty() => format!("{:?}", choices[0]),
        _ => format!("{:?}", setting.default),
    }
}
