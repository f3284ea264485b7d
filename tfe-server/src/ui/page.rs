//! How pages are sent: with headers that leave a browser few ways to be misled.

use askama::Template;
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
};

use crate::error::{ApiError, Reply};

/// Everything a page uses comes from this server, and nobody may show it in a frame.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'";

/// A page.
pub(crate) fn page(template: &impl Template) -> Reply {
    with_status(StatusCode::OK, template)
}

/// A page that says that something was wrong.
pub(crate) fn with_status(status: StatusCode, template: &impl Template) -> Reply {
    let html = template.render().map_err(ApiError::internal)?;
    let mut response = (status, Html(html)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// Lets the page's form lead to other places too: browsers apply `form-action` to what the form's answer redirects to.
pub(crate) fn with_form_targets(mut response: Response, targets: &str) -> Response {
    if let Ok(policy) = HeaderValue::from_str(&format!("{POLICY} {targets}")) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// Goes on to another page, after a form.
pub(crate) fn see(path: &str) -> Response {
    Redirect::to(path).into_response()
}
