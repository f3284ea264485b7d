//! Values as types; what does not fit is noted, and reading goes on, so that all mistakes are seen at once.

use std::{net::SocketAddr, path::PathBuf};

use tfe_core::{secret::Secret, subnet::Subnet};
use url::Url;

use super::{
    Mistake,
    settings::{Form, SETTINGS, Setting},
    sources::{Gathered, Source},
};

/// Reads values and gathers mistakes.
pub(super) struct Reader {
    pub(super) gathered: Gathered,
}

impl Reader {
    /// A text, if there is one.
    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        Some(self.raw(key).expose().to_owned()).filter(|text| !text.is_empty())
    }

    /// A secret, if there is one.
    pub(super) fn secret(&mut self, key: &'static str) -> Option<Secret> {
        Some(self.raw(key)).filter(|secret| !secret.expose().is_empty())
    }

    /// A path, if there is one.
    pub(super) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    /// Whether a switch is on.
    pub(super) fn switch(&mut self, key: &'static str) -> bool {
        self.parsed(key, |text| text.parse::<bool>().ok()).unwrap_or(false)
    }

    /// A number in its range; its least value if it is none.
    pub(super) fn number(&mut self, key: &'static str) -> u64 {
        let Form::Number(range) = &setting(key).form else { return 0 };
        self.parsed(key, |text| text.parse().ok().filter(|number| range.contains(number))).unwrap_or(*range.start())
    }

    /// One of the choices, if one is made.
    pub(super) fn choice(&mut self, key: &'static str) -> Option<&'static str> {
        let Form::Choice(choices) = &setting(key).form else { return None };
        self.parsed(key, |text| choices.iter().copied().find(|choice| *choice == text))
    }

    /// A socket address.
    pub(super) fn address(&mut self, key: &'static str) -> Option<SocketAddr> {
        self.parsed(key, |text| text.parse().ok())
    }

    /// A URL, without a slash at its end.
    pub(super) fn url(&mut self, key: &'static str) -> Option<String> {
        self.parsed(key, |text| {
            let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())?;
            url.password().is_none().then(|| text.trim_end_matches('/').to_owned())
        })
    }

    /// Address ranges.
    pub(super) fn subnets(&mut self, key: &'static str) -> Vec<Subnet> {
        let parse = |text: &str| text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(|part| part.parse().ok()).collect();
        self.parsed(key, parse).unwrap_or_default()
    }

    /// Notes that a setting must be given, and why.
    pub(super) fn require(&mut self, is_given: bool, key: &'static str, why: &str) {
        if !is_given {
            self.mistake(key, format!("must be given {why} ({})", setting(key).environment));
        }
    }

    /// Notes a mistake.
    pub(super) fn mistake(&mut self, key: &'static str, text: impl Into<String>) {
        let setting = match &self.gathered.values[key].source {
            Source::Environment(name) => name.clone(),
            _ => key.to_owned(),
        };
        self.gathered.mistakes.push(Mistake { setting, text: text.into() });
    }

    fn raw(&self, key: &'static str) -> Secret {
        self.gathered.values[key].text.clone()
    }

    fn parsed<T>(&mut self, key: &'static str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let text = self.text(key)?;
        let value = parse(text.trim());
        if value.is_none() {
            self.mistake(key, format!("must be {}, not \"{text}\"", setting(key).form.expectation()));
        }
        value
    }
}

/// The setting of that key.
fn setting(key: &str) -> &'static Setting {
    SETTINGS.iter().find(|setting| setting.key == key).expect("keys are constants of this module and in the list")
}
