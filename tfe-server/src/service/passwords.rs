//! Passwords: kept as Argon2 hashes, checked slowly and few at a time.

use std::sync::LazyLock;

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use tfe_core::{secret::Secret, user::User};
use tokio::sync::Semaphore;

use crate::error::ApiError;

/// How many passwords are checked at once: each takes about 20 MB and a core, and a flood must not take them all.
const CONCURRENT_CHECKS: usize = 2;
static CHECKS: Semaphore = Semaphore::const_new(CONCURRENT_CHECKS);

/// What is verified when there is no such user, so that the answer takes as long as for one who exists.
static NOBODY: LazyLock<String> = LazyLock::new(|| hash(&Secret::from("nobody has this password")).unwrap_or_default());

/// The hash to store of a password, in PHC form.
pub(crate) fn hash(password: &Secret) -> Result<String, ApiError> {
    let hash = Argon2::default().hash_password(password.expose().as_bytes());
    hash.map(|hash| hash.to_string()).map_err(|error| ApiError::internal(error.to_string()))
}

/// Whether it is the user's password. Takes the same time when there is no such user, or one without a password.
pub(crate) async fn verify(user: Option<&User>, password: Secret) -> Result<bool, ApiError> {
    let _permit = CHECKS.acquire().await.map_err(ApiError::internal)?;
    let known = user.and_then(|user| user.password_hash.clone());
    let check = move || {
        let hash = known.as_deref().unwrap_or(&NOBODY);
        let parsed = PasswordHash::new(hash).map_err(|error| ApiError::internal(error.to_string()))?;
        let matches = Argon2::default().verify_password(password.expose().as_bytes(), &parsed).is_ok();
        Ok(matches && known.is_some())
    };
    tokio::task::spawn_blocking(check).await.map_err(ApiError::internal)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_of_an_existing_user_is_accepted() {
        let user = |password_hash| User {
            id: "user-1".into(),
            created_at: tfe_core::time::Timestamp::from_millis(0),
            username: "a".to_owned(),
            email: "a@b".to_owned(),
            password_hash,
            site_admin: false,
        };
        let known = user(Some(hash(&Secret::from("right")).unwrap()));
        assert!(verify(Some(&known), Secret::from("right")).await.unwrap());
        assert!(!verify(Some(&known), Secret::from("wrong")).await.unwrap());
        assert!(!verify(Some(&user(None)), Secret::from("nobody has this password")).await.unwrap());
        assert!(!verify(None, Secret::from("nobody has this password")).await.unwrap());
    }
}
