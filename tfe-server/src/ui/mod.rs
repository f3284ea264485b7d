//! Pages for people: signing in, approving `terraform login`, tokens, and what runs do.
//!
//! Pages work without scripts, except for the live log. There are no tokens against forged requests in forms: a form
//! counts only if the browser says that it comes from this server, see [`visitor::SameOrigin`].

mod assets;
mod browse;
mod oauth;
mod page;
mod run;
mod session;
mod tokens;
mod visitor;

use crate::http::routes::Routes;

/// All routes of the pages.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .and(assets::routes())
        .and(session::routes())
        .and(oauth::routes())
        .and(browse::routes())
        .and(run::routes())
        .and(tokens::routes())
}
