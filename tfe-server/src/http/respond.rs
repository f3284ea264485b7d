//! Answers.

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use tfe_core::jsonapi::{Document, MEDIA_TYPE, Resource};

use super::{context::Context, parameters::Parameters};

/// A document.
pub(crate) fn document(status: StatusCode, document: &Document) -> Response {
    (status, [(header::CONTENT_TYPE, MEDIA_TYPE)], Json(document)).into_response()
}

/// One resource, with 200.
pub(crate) fn shown(resource: &Resource) -> Response {
    document(StatusCode::OK, &Document::one(resource))
}

/// One resource, with 201.
pub(crate) fn created(resource: &Resource) -> Response {
    document(StatusCode::CREATED, &Document::one(resource))
}

/// The page that was asked for of a list of `total`.
pub(crate) fn page(context: &Context, parameters: &Parameters, resources: &[Resource], total: u64) -> Response {
    document(StatusCode::OK, &page_document(context, parameters, resources, total))
}

/// The same, to include other resources in it.
pub(crate) fn page_document(context: &Context, parameters: &Parameters, resources: &[Resource], total: u64) -> Document {
    let (path, query) = (context.url(&context.path), parameters.without_page());
    let url = if query.is_empty() { path } else { format!("{path}?{query}") };
    Document::page(resources, parameters.page(), total, &url)
}

/// Done, with nothing to show.
pub(crate) fn done() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// Will be done.
pub(crate) fn accepted() -> Response {
    StatusCode::ACCEPTED.into_response()
}
