//! Signing in and out: with a password, or with an API token for those who have only that.

use askama::Template;
use axum::{
    Form,
    extract::{Query, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use serde::Deserialize;
use tfe_core::{
    access::Subject,
    id::Id,
    secret::Secret,
    user::{Session, User},
};
use tfe_storage::{Batch, StoreExt};

use super::{
    page,
    visitor::{COOKIE, SameOrigin, session},
};
use crate::{
    app::App,
    error::{ApiError, Reply},
    http::limits,
    http::routes::Routes,
    service::{passwords, tokens},
};

/// How long a session is good, in seconds: a working day and a little more.
const LIFETIME_SECONDS: i64 = 12 * 60 * 60;

pub(crate) fn routes() -> Routes {
    Routes::new().get("/session", form).post("/session", sign_in).post("/session/end", sign_out)
}

#[derive(Template)]
#[template(path = "session.html")]
struct SignIn<'p> {
    next: &'p str,
    error: Option<&'static str>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Target {
    next: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Credentials {
    next: String,
    username: String,
    #[serde(with = "tfe_core::secret::exposed")]
    password: Secret,
    #[serde(with = "tfe_core::secret::exposed")]
    token: Secret,
}

async fn form(Query(target): Query<Target>) -> Reply {
    page::page(&SignIn { next: &target.next, error: None })
}

async fn sign_in(State(app): State<App>, _: SameOrigin, Form(credentials): Form<Credentials>) -> Reply {
    if credentials.token.expose().is_empty() && limits::check_sign_in(&app, &credentials.username).await.is_err() {
        let error = Some("Too many tries. Wait a minute, then try again.");
        return page::with_status(StatusCode::TOO_MANY_REQUESTS, &SignIn { next: &credentials.next, error });
    }
    let Some(user) = user(&app, &credentials).await? else {
        let error = Some("That did not match. Check the username and password, or paste a token that is still good.");
        return page::with_status(StatusCode::UNAUTHORIZED, &SignIn { next: &credentials.next, error });
    };
    let secret = tokens::new_secret(&app);
    let session = Session {
        id: app.new_id(),
        created_at: app.now(),
        digest: tokens::digest(secret.expose()),
        user_id: user,
        expires_at: app.now().plus_seconds(LIFETIME_SECONDS),
    };
    app.store.commit(Batch::new().insert(&session)).await?;
    with_cookie(&app, page::see(local(&credentials.next)), secret.expose(), LIFETIME_SECONDS)
}

async fn sign_out(State(app): State<App>, _: SameOrigin, headers: HeaderMap) -> Reply {
    if let Some(session) = session(&app, &headers).await? {
        app.store.commit(Batch::new().delete(&session)).await?;
    }
    with_cookie(&app, page::see("/session"), "", 0)
}

async fn user(app: &App, credentials: &Credentials) -> Result<Option<Id<User>>, ApiError> {
    if !credentials.token.expose().is_empty() {
        return Ok(match tokens::authenticate(app, credentials.token.expose().trim()).await? {
            Some(Subject::User { id, .. }) => Some(id),
            _ => None,
        });
    }
    let user = app.store.find_by::<User>("username", &credentials.username).await?;
    let matches = passwords::verify(user.as_deref(), credentials.password.clone()).await?;
    Ok(user.filter(|_| matches).map(|user| user.id.clone()))
}

/// A path on this server: what else `next` may say would make the page a stepping stone to others.
fn local(next: &str) -> &str {
    let is_local = next.starts_with('/') && !next.starts_with("//") && !next.contains('\\');
    if is_local { next } else { "/app" }
}

fn with_cookie(app: &App, mut response: Response, value: &str, seconds: i64) -> Reply {
    let secure = if app.settings.tls { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    response.headers_mut().insert(header::SET_COOKIE, HeaderValue::try_from(cookie).map_err(ApiError::internal)?);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::local;

    #[test]
    fn signing_in_leads_to_this_server_only() {
        assert_eq!(local("/oauth/authorization?a=b"), "/oauth/authorization?a=b");
        for elsewhere in ["https://evil.example", "//evil.example", "/\\evil.example", "evil", ""] {
            assert_eq!(local(elsewhere), "/app");
        }
    }
}
