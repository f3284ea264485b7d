//! Pages for people: signing in, approving `terraform login`, and a run.

mod oauth;
mod run;
mod session;
mod tokens;

use crate::http::routes::Routes;

/// All routes of the pages.
pub(crate) fn routes() -> Routes {
    Routes::new().and(session::routes()).and(oauth::routes()).and(run::routes()).and(tokens::routes())
}
