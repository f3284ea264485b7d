//! Who looks at a page, and whether a form comes from one.

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, Uri, header, request::Parts},
    response::{IntoResponse, Response},
};
use tfe_core::{
    access::Subject,
    user::{Session, User},
};
use tfe_storage::{StoreExt, Versioned};

use super::page;
use crate::{app::App, error::ApiError, http::context::Context, service::tokens::digest};

/// The cookie with the session's secret.
pub(crate) const COOKIE: &str = "tfe_session";

/// A person who has signed in. Anyone else is sent to the sign-in page and comes back from there.
#[derive(Debug)]
pub(crate) struct Visitor {
    pub(crate) context: Context,
    pub(crate) user: Versioned<User>,
}

/// A form that was sent from a page of this server. Browsers say where a request comes from, in `Sec-Fetch-Site` or,
/// older ones, in `Origin`; who says neither is no browser and has no cookie to be abused.
#[derive(Debug)]
pub(crate) struct SameOrigin;

impl FromRequestParts<App> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Response> {
        match user(app, &parts.headers).await {
            Ok(Some(user)) => {
                let subject = Subject::User { id: user.id.clone(), site_admin: user.site_admin };
                Ok(Self { context: Context::new(app.clone(), subject, &parts.headers, parts.uri.path()), user })
            }
            Ok(None) => Err(page::see(&sign_in(&parts.uri))),
            Err(error) => Err(error.into_response()),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for SameOrigin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        if is_same_origin(&parts.headers) {
            return Ok(Self);
        }
        Err(ApiError::BadRequest("this form did not come from a page of this server; open the page again and repeat".to_owned()))
    }
}

/// The session whose cookie comes with the request, if it is still good.
pub(crate) async fn session(app: &App, headers: &HeaderMap) -> Result<Option<Versioned<Session>>, ApiError> {
    let Some(secret) = cookie(headers) else { return Ok(None) };
    let session = app.store.find_by::<Session>("digest", &digest(secret)).await?;
    Ok(session.filter(|session| session.expires_at > app.now()))
}

async fn user(app: &App, headers: &HeaderMap) -> Result<Option<Versioned<User>>, ApiError> {
    match session(app, headers).await? {
        Some(session) => Ok(app.store.find::<User>(session.user_id.as_str()).await?),
        None => Ok(None),
    }
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|text| text.split(';')).find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

fn sign_in(uri: &Uri) -> String {
    let next = uri.path_and_query().map_or("/app", |path| path.as_str());
    let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("next", next).finish();
    format!("/session?{query}")
}

fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match (text("sec-fetch-site"), text("origin")) {
        (Some(site), _) => matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => origin.split_once("://").map(|(_, host)| host) == text("host"),
        (None, None) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_form_from_elsewhere_is_noticed() {
        assert!(is_same_origin(&headers(&[("sec-fetch-site", "same-origin")])));
        assert!(!is_same_origin(&headers(&[("sec-fetch-site", "cross-site")])));
        assert!(!is_same_origin(&headers(&[("sec-fetch-site", "same-site")])));
        assert!(is_same_origin(&headers(&[("origin", "https://a:1"), ("host", "a:1")])));
        assert!(!is_same_origin(&headers(&[("origin", "https://evil"), ("host", "a:1")])));
        assert!(!is_same_origin(&headers(&[("origin", "null"), ("host", "a:1")])));
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        assert_eq!(cookie(&headers(&[("cookie", "a=b; tfe_session=x.y; c=d")])), Some("x.y"));
        assert_eq!(cookie(&headers(&[("cookie", "tfe_session_other=x")])), None);
    }
}
