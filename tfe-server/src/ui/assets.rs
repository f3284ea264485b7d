//! The style sheet and the one script, compiled into the binary.

use axum::http::header;

use crate::{error::Reply, http::routes::Routes};
use axum::response::IntoResponse;

/// How long browsers keep them: short, since their names do not change with their content.
const CACHE: &str = "public, max-age=300";

pub(crate) fn routes() -> Routes {
    Routes::new().get("/assets/style.css", style).get("/assets/run.js", script)
}

async fn style() -> Reply {
    let headers = [(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, CACHE)];
    Ok((headers, include_str!("../../assets/style.css")).into_response())
}

async fn script() -> Reply {
    let headers = [(header::CONTENT_TYPE, "text/javascript; charset=utf-8"), (header::CACHE_CONTROL, CACHE)];
    Ok((headers, include_str!("../../assets/run.js")).into_response())
}
