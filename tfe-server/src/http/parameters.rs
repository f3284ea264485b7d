//! Query parameters: pages, includes, filters. Unknown ones are ignored, since clients send junk (contract 1.3).

use axum::{extract::FromRequestParts, http::request::Parts};
use tfe_core::jsonapi::Page;

use crate::error::ApiError;

/// The query of a request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// The first value of that name, if it is not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// A comma-separated value as a list.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let parts = self.get(name).unwrap_or_default().split(',');
        parts.map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }

    /// All parameters, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Which page is wanted.
    pub(crate) fn page(&self) -> Page {
        Page::new(self.number("page[number]"), self.number("page[size]"))
    }

    /// Whether a page was asked for at all; some lists are read whole by clients that do not ask.
    pub(crate) fn is_paged(&self) -> bool {
        self.get("page[number]").is_some() || self.get("page[size]").is_some()
    }

    /// The names in `include`, each brought to kebab case; both spellings are in use. Names that are not in
    /// `known` are an error whose text go-tfe looks for.
    pub(crate) fn include(&self, known: &[&str]) -> Result<Vec<String>, ApiError> {
        let wanted: Vec<String> = self.list("include").iter().map(|name| name.replace('_', "-")).collect();
        match wanted.iter().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(ApiError::BadRequest(format!("Invalid include parameter: {name}"))),
            None => Ok(wanted),
        }
    }

    /// The query without its page, for the links of a list.
    pub(crate) fn without_page(&self) -> String {
        let kept = self.iter().filter(|(key, _)| !key.starts_with("page["));
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(kept).finish()
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.get(name).and_then(|value| value.parse().ok())
    }
}

impl<S: Sync> FromRequestParts<S> for Parameters {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let query = parts.uri.query().unwrap_or_default();
        Ok(Self(url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()))
    }
}
