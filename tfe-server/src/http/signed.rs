//! Addresses that carry their own permission, for uploads, downloads and logs.
//!
//! The terraform CLI sends no token to them, and its log reader replaces the whole query (contract 1.6),
//! so the permission is in the path: what, which, until when, and a MAC over these.

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use tfe_core::{secret::Secret, time::Timestamp};

use crate::error::ApiError;

/// How long an address is good, in seconds: 25 hours, as Terraform Enterprise documents for its own.
pub(crate) const LIFETIME_SECONDS: i64 = 25 * 60 * 60;

/// What an address is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    ConfigurationUpload,
    StateUpload,
    JsonStateUpload,
    StateDownload,
    JsonStateDownload,
    LogRead,
}

/// Signs and checks addresses.
pub(crate) struct Signer(hmac::Key);

impl Purpose {
    const fn as_str(self) -> &'static str {
        match self {
            Self::ConfigurationUpload => "configuration-upload",
            Self::StateUpload => "state-upload",
            Self::JsonStateUpload => "json-state-upload",
            Self::StateDownload => "state-download",
            Self::JsonStateDownload => "json-state-download",
            Self::LogRead => "log",
        }
    }
}

impl Signer {
    /// With the installation's key.
    pub(crate) fn new(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// A secret that whoever has the installation's key can derive again, and nobody else.
    pub(crate) fn derived(&self, purpose: &str) -> Secret {
        Secret::from(URL_SAFE_NO_PAD.encode(hmac::sign(&self.0, format!("derived:{purpose}").as_bytes())))
    }

    /// The path for this purpose and id, good from now for [`LIFETIME_SECONDS`].
    pub(crate) fn path(&self, purpose: Purpose, id: &str, now: Timestamp) -> String {
        let until = now.plus_seconds(LIFETIME_SECONDS).as_millis() / 1000;
        let mac = URL_SAFE_NO_PAD.encode(hmac::sign(&self.0, message(purpose, id, until).as_bytes()));
        format!("/_signed/{}/{id}/{until}/{mac}", purpose.as_str())
    }

    /// Whether this is such a path; a wrong or expired one is as if it did not exist.
    pub(crate) fn check(&self, purpose: Purpose, permit: &Permit, now: Timestamp) -> Result<(), ApiError> {
        let mac = URL_SAFE_NO_PAD.decode(&permit.mac).map_err(|_| ApiError::NotFound)?;
        hmac::verify(&self.0, message(purpose, &permit.id, permit.until).as_bytes(), &mac).map_err(|_| ApiError::NotFound)?;
        if permit.until < now.as_millis() / 1000 { Err(ApiError::NotFound) } else { Ok(()) }
    }
}

/// The changing parts of a signed path, as the router finds them.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Permit {
    /// Of what.
    pub(crate) id: String,
    until: i64,
    mac: String,
}

fn message(purpose: Purpose, id: &str, until: i64) -> String {
    format!("{}\n{id}\n{until}", purpose.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permit(path: &str) -> Permit {
        let parts: Vec<&str> = path.split('/').collect();
        Permit { id: parts[3].into(), until: parts[4].parse().unwrap(), mac: parts[5].into() }
    }

    #[test]
    fn an_address_is_good_for_its_purpose_its_id_and_its_time_only() {
        let (signer, now) = (Signer::new(b"key"), Timestamp::from_millis(1_000_000));
        let good = permit(&signer.path(Purpose::LogRead, "plan-1", now));
        assert!(signer.check(Purpose::LogRead, &good, now).is_ok());
        assert!(signer.check(Purpose::StateDownload, &good, now).is_err());
        assert!(signer.check(Purpose::LogRead, &good, now.plus_seconds(LIFETIME_SECONDS + 1)).is_err());
        assert!(signer.check(Purpose::LogRead, &Permit { id: "plan-2".into(), ..good }, now).is_err());
        assert!(Signer::new(b"other").check(Purpose::LogRead, &permit(&signer.path(Purpose::LogRead, "plan-1", now)), now).is_err());
    }
}
