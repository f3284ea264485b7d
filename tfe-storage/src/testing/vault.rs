//! What every vault must do.

use std::sync::Arc;

use tfe_core::secret::Sealed;

use crate::{Vault, VaultError};

type TheVault = Arc<dyn Vault>;

const CONTEXT: &str = "variable:var-1";
const PLAIN: &[u8] = b"correct horse battery staple";

/// Any bytes come back.
pub async fn opens_what_it_sealed(vault: TheVault) {
    let all_bytes: Vec<u8> = (0..=255).collect();
    for plain in [b"".as_slice(), b"\0", PLAIN, &all_bytes] {
        let sealed = vault.seal(CONTEXT, plain).await.unwrap();
        assert_eq!(vault.open(CONTEXT, &sealed).await.unwrap().as_slice(), plain);
    }
}

/// Equal values cannot be recognised.
pub async fn never_seals_twice_alike(vault: TheVault) {
    assert_ne!(vault.seal(CONTEXT, PLAIN).await.unwrap(), vault.seal(CONTEXT, PLAIN).await.unwrap());
}

/// The sealed form has its three parts and not the value, nor is it printed.
pub async fn shows_nothing(vault: TheVault) {
    let sealed = vault.seal(CONTEXT, PLAIN).await.unwrap();
    let parts: Vec<_> = sealed.as_str().split(':').collect();
    assert!(parts.len() == 3 && parts[1].strip_prefix('v').is_some_and(|version| version.parse::<u32>().is_ok()), "{parts:?}");
    assert!(!sealed.as_str().contains("horse"));
    assert!(!format!("{sealed:?} {vault:?}").contains(parts[2]));
}

/// A value cannot be put in another's place.
pub async fn refuses_another_context(vault: TheVault) {
    let sealed = vault.seal(CONTEXT, PLAIN).await.unwrap();
    for context in ["", "variable:var-2", "variable:var-1 "] {
        assert!(matches!(vault.open(context, &sealed).await, Err(VaultError::Tampered)));
    }
}

/// No character can be changed or left out.
pub async fn refuses_every_changed_character(vault: TheVault) {
    let sealed = vault.seal(CONTEXT, PLAIN).await.unwrap();
    let text = sealed.as_str();
    for index in 0..text.len() {
        let mut changed = text.as_bytes().to_vec();
        changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
        let changed = Sealed::new(String::from_utf8(changed).unwrap());
        assert!(vault.open(CONTEXT, &changed).await.is_err(), "character {index}");
        let cut = Sealed::new(text[..index].to_owned());
        assert!(vault.open(CONTEXT, &cut).await.is_err(), "cut at {index}");
    }
}

/// What this vault did not seal is refused and does no harm.
pub async fn refuses_foreign_values(vault: TheVault) {
    for text in ["", ":", "::", "local:v1:", "other:v1:AAAA", "local:v0:AAAA", "local:v99999999999:AAAA", "local:v1:???", "memory:v-1:AAAA"]
    {
        assert!(vault.open(CONTEXT, &Sealed::new(text.to_owned())).await.is_err(), "{text}");
    }
}

/// After a rotation, what was sealed before still opens; sealed anew it names the new version, once.
pub async fn rotates_and_rewraps(vault: Arc<dyn Vault>) {
    let old = vault.seal("c", b"value").await.unwrap();
    assert_eq!(vault.rewrap("c", &old).await.unwrap(), None, "it is sealed with the newest key");
    let version = vault.rotate().await.unwrap();
    assert_eq!(vault.open("c", &old).await.unwrap().as_slice(), b"value");
    assert!(vault.rewrap("other", &old).await.is_err(), "another context");
    let new = vault.rewrap("c", &old).await.unwrap().expect("its key is old");
    assert!(new.as_str().contains(&format!(":v{version}:")), "{}", new.as_str());
    assert_eq!(vault.open("c", &new).await.unwrap().as_slice(), b"value");
    assert_eq!(vault.rewrap("c", &new).await.unwrap(), None);
    vault.check().await.unwrap();
}
