//! The archive for whoever helps: for site administrators.

use axum::{
    http::header,
    response::{IntoResponse, Response},
};

use crate::{
    error::ApiError,
    http::{context::Context, routes::Routes},
    service::support,
};

pub(crate) fn routes() -> Routes {
    Routes::new().get("/api/v2/admin/support-bundle", show)
}

async fn show(context: Context) -> Result<Response, ApiError> {
    context.require_site_admin()?;
    let archive = support::bundle(&context.app).await?;
    Ok(([(header::CONTENT_TYPE, "application/gzip")], archive).into_response())
}
