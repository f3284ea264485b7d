//! People, their tokens and how they sign in.

use serde::{Deserialize, Serialize};

use crate::{agent::AgentPool, id::Id, organization::Organization, record, record::Field, time::Timestamp};

/// A person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// Its id.
    pub id: Id<User>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Unique on the installation.
    pub username: String,
    /// Unique on the installation.
    pub email: String,
    /// Argon2 hash in PHC form; none for those who cannot sign in with a password.
    pub password_hash: Option<String>,
    /// Whether the user may do everything everywhere.
    pub site_admin: bool,
}

/// A bearer token; only its digest is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Token {
    /// Its id.
    pub id: Id<Token>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Hex SHA-256 of the token. Tokens are 95 bits of chance or more, so that a plain digest cannot be searched.
    pub digest: String,
    /// Whose rights it carries.
    pub owner: TokenOwner,
    /// The owner's id, for lists.
    pub owner_id: String,
    /// What it is for.
    pub description: String,
    /// When it was used last, to the hour: every use must not be a write.
    pub last_used_at: Option<Timestamp>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

/// Whose rights a token carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenOwner {
    /// A person's.
    User(Id<User>),
    /// An organization's.
    Organization(Id<Organization>),
    /// An agent pool's: good for taking its jobs, and for nothing else.
    AgentPool(Id<AgentPool>),
}

/// A browser's session after signing in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Its id.
    pub id: Id<Session>,
    /// When it began.
    pub created_at: Timestamp,
    /// Hex SHA-256 of the cookie's value.
    pub digest: String,
    /// Who signed in.
    pub user_id: Id<User>,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// A code that `terraform login` exchanges for a token (OAuth 2 authorization code with PKCE).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuthorizationCode {
    /// Its id.
    pub id: Id<AuthorizationCode>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Hex SHA-256 of the code.
    pub digest: String,
    /// Who approved.
    pub user_id: Id<User>,
    /// The S256 challenge that the exchange must answer.
    pub challenge: String,
    /// Where the browser was sent; the exchange must name the same.
    pub redirect_uri: String,
    /// When it ends.
    pub expires_at: Timestamp,
}

record!(User, USERS = "users", prefix: "user",
    fields: [Field::at("username", &["username"]), Field::at("email", &["email"])],
    unique: [&["username"], &["email"]],
    indexes: []);

record!(Token, TOKENS = "tokens", prefix: "at",
    fields: [Field::at("digest", &["digest"]), Field::at("owner_id", &["owner_id"])],
    unique: [&["digest"]],
    indexes: [&["owner_id"]]);

record!(Session, SESSIONS = "sessions", prefix: "session",
    fields: [Field::at("digest", &["digest"]), Field::refers("user_id", &["user_id"], "users")],
    unique: [&["digest"]],
    indexes: []);

record!(AuthorizationCode, AUTHORIZATION_CODES = "authorization_codes", prefix: "code",
    fields: [Field::at("digest", &["digest"]), Field::refers("user_id", &["user_id"], "users")],
    unique: [&["digest"]],
    indexes: []);
