//! The calling person, and people by id.

use axum::extract::Path;
use serde_json::json;
use tfe_core::{
    jsonapi::{Linkage, Resource},
    organization::Membership,
    user::User,
};
use tfe_storage::{Query, StoreExt, Versioned};

use crate::{
    error::{ApiError, Reply},
    http::{context::Context, respond, routes::Routes},
};

pub(crate) fn routes() -> Routes {
    Routes::new().get("/api/v2/account/details", own).get("/api/v2/users/{id}", show)
}

async fn own(context: Context) -> Reply {
    let id = context.user_id().ok_or(ApiError::NotFound)?;
    let user: Versioned<User> = context.any(id.as_str()).await?;
    Ok(respond::shown(&render(&user).attribute("email", user.email.clone())))
}

/// People see themselves and those they share an organization with.
async fn show(context: Context, Path(id): Path<String>) -> Reply {
    let user: Versioned<User> = context.any(&id).await?;
    if context.user_id().as_ref() != Some(&user.id) {
        require_shared_organization(&context, &user).await?;
    }
    Ok(respond::shown(&render(&user)))
}

async fn require_shared_organization(context: &Context, user: &User) -> Result<(), ApiError> {
    let memberships = context.app.store.list::<Membership>(Query::of::<Membership>().equals("user_id", &user.id)).await?;
    for membership in memberships.items {
        if context.sees_organization(&membership.organization_id).await? {
            return Ok(());
        }
    }
    Err(ApiError::NotFound)
}

/// A person as others see them.
pub(crate) fn render(user: &User) -> Resource {
    let attributes = json!({
        "username": user.username,
        "is-service-account": false,
        "is-site-admin": user.site_admin,
        "auth-method": "tfc",
        "avatar-url": null,
        "v2-only": true,
        "permissions": { "can-create-organizations": user.site_admin, "can-change-email": true, "can-change-username": true },
    });
    Resource::new("users", &user.id)
        .attributes(&attributes)
        .one("authenticated-resource", &Linkage::to("users", &user.id))
        .link("self", format!("/api/v2/users/{}", user.id))
}
