//! Detached `OpenPGP` signatures of lists of checksums.
//!
//! The library verifies mathematics; what a signature means is decided here: which keys count, that a signing key
//! belongs to its primary key, was not revoked, and was valid at the time of the signature. That time, not today's,
//! because releases of years ago are still good when their key has expired since.

use std::fmt::Write;

use pgp::{
    composed::{Deserializable, DetachedSignature, SignedPublicKey, SignedPublicSubKey},
    packet::{Signature, SignatureType},
    types::{KeyDetails, Tag, Timestamp},
};

use super::error::ToolError;
use crate::job::EngineKind;

/// HashiCorp's key (hashicorp.com/security); a subkey of it signs.
const HASHICORP: &str = "c874011f0ab405110d02105534365d9472d7468f";
/// OpenTofu's key (opentofu.org, installation; get.opentofu.org/opentofu.asc).
const OPENTOFU: &str = "e3e6e43d84cb852eadb0051d0c0af313e5fd9f80";
/// Most keys in a file and signatures in another: vendors have one or two.
const MAX_PARTS: usize = 16;
const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";

/// Keys whose signatures count.
#[derive(Debug, Clone)]
pub(super) struct Keys(Vec<SignedPublicKey>);

impl Keys {
    /// Reads public keys, armored or not, in one or several blocks.
    pub(super) fn parse(document: &[u8]) -> Result<Self, ToolError> {
        let unusable =
            |reason: String| ToolError::Untrusted(format!("the public keys cannot be used ({reason}); fetch them from the vendor again"));
        let blocks = match std::str::from_utf8(document) {
            Ok(text) if text.contains(BEGIN) => text.split(BEGIN).skip(1).map(|block| format!("{BEGIN}{block}").into_bytes()).collect(),
            _ => vec![document.to_owned()],
        };
        let mut keys = Vec::new();
        for block in &blocks {
            let (parsed, _) = SignedPublicKey::from_reader_many_buf(block.as_slice()).map_err(|error| unusable(error.to_string()))?;
            for key in parsed.take(MAX_PARTS) {
                keys.push(key.map_err(|error| unusable(error.to_string()))?);
            }
        }
        if keys.is_empty() || keys.len() > MAX_PARTS { Err(unusable(format!("it holds {}", keys.len()))) } else { Ok(Self(keys)) }
    }

    /// Only those that are known to be the vendor's, wherever they came from.
    pub(super) fn of_vendor(mut self, kind: EngineKind) -> Result<Self, ToolError> {
        let vendor = match kind {
            EngineKind::Terraform => HASHICORP,
            EngineKind::Tofu => OPENTOFU,
        };
        self.0.retain(|key| fingerprint(key) == vendor);
        if self.0.is_empty() {
            let wrong = format!("the public key beside the engine is not its vendor's, whose fingerprint is {vendor}; ");
            return Err(ToolError::Untrusted(wrong + "fetch the vendor's key, or name the file of your own with TFE_TOOLS_KEYS"));
        }
        Ok(self)
    }

    /// Checks that one of the keys signed the document.
    pub(super) fn check(&self, document: &[u8], signatures: &[u8]) -> Result<(), ToolError> {
        let unusable = || ToolError::Untrusted("the signature of the checksums cannot be read; fetch it from the vendor again".to_owned());
        let (parsed, _) = DetachedSignature::from_reader_many_buf(signatures).map_err(|_| unusable())?;
        let mut problem = None;
        for signature in parsed.take(MAX_PARTS) {
            let signature = signature.map_err(|_| unusable())?.signature;
            match self.0.iter().map(|key| accepts(key, &signature, document)).find(|found| *found != Found::AnotherKey) {
                Some(Found::Good) => return Ok(()),
                Some(Found::Bad(why)) => problem = Some(why),
                _ => {}
            }
        }
        let why = problem.unwrap_or("none of the keys signed this list");
        let mut known = String::new();
        for key in &self.0 {
            let _ = write!(known, " {}", fingerprint(key));
        }
        Err(ToolError::Untrusted(format!(
            "the signature of the checksums is not good: {why} (known keys:{known}); fetch the release and the key from the vendor again"
        )))
    }
}

/// What a key says of a signature.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Good,
    AnotherKey,
    Bad(&'static str),
}

fn accepts(key: &SignedPublicKey, signature: &Signature, document: &[u8]) -> Found {
    let Some(signed_at) = signature.created().filter(|_| signature.typ() == Some(SignatureType::Binary)) else {
        return Found::Bad("it is not a signature of a file with its time");
    };
    let primary = Part::primary(key);
    let signer = if signature.verify(&key.primary_key, document).is_ok() {
        Part::primary(key)
    } else {
        match key.public_subkeys.iter().find(|subkey| signature.verify(&subkey.key, document).is_ok()) {
            Some(subkey) => Part::subkey(key, subkey),
            None => return Found::AnotherKey,
        }
    };
    if primary.is_revoked || signer.is_revoked {
        Found::Bad("the key that made it is revoked")
    } else if !primary.was_valid(signed_at) || !signer.was_valid(signed_at) {
        Found::Bad("the key that made it was not valid at the time")
    } else if !signer.may_sign() {
        Found::Bad("the key that made it is not one for signing")
    } else {
        Found::Good
    }
}

/// A primary key or a subkey, with what its primary key says of it. What others say of it is left out, and so is what
/// does not verify: whoever passes a key on can add to it.
struct Part<'k> {
    created_at: Timestamp,
    says: Vec<&'k Signature>,
    is_revoked: bool,
}

impl<'k> Part<'k> {
    fn primary(key: &'k SignedPublicKey) -> Self {
        let (primary, details) = (&key.primary_key, &key.details);
        let direct = details.direct_signatures.iter().filter(|signature| signature.verify_key(primary).is_ok());
        let of_users = details.users.iter().flat_map(|user| {
            let certifies = |signature: &&Signature| signature.verify_certification(primary, Tag::UserId, &user.id).is_ok();
            user.signatures.iter().filter(|signature| signature.is_certification()).filter(certifies)
        });
        let is_revoked = details.revocation_signatures.iter().any(|signature| signature.verify_key(primary).is_ok());
        Self { created_at: primary.created_at(), says: direct.chain(of_users).collect(), is_revoked }
    }

    fn subkey(key: &'k SignedPublicKey, subkey: &'k SignedPublicSubKey) -> Self {
        let binds = |signature: &&Signature| signature.verify_subkey_binding(&key.primary_key, &subkey.key).is_ok();
        let (revocations, bindings): (Vec<_>, Vec<_>) =
            subkey.signatures.iter().filter(binds).partition(|signature| signature.typ() == Some(SignatureType::SubkeyRevocation));
        // A subkey that signs must say so itself, or somebody could claim another's.
        let consents = |signature: &&Signature| {
            let back = signature.embedded_signature();
            back.is_some_and(|back| back.verify_primary_key_binding(&subkey.key, &key.primary_key).is_ok())
        };
        let says = bindings.into_iter().filter(consents).collect();
        Self { created_at: subkey.key.created_at(), says, is_revoked: !revocations.is_empty() }
    }

    fn was_valid(&self, at: Timestamp) -> bool {
        let Some(newest) = self.newest() else { return false };
        let lasts = newest.key_expiration_time().map(|time| u64::from(time.as_secs())).filter(|seconds| *seconds > 0);
        let ends = lasts.map(|seconds| u64::from(self.created_at.as_secs()) + seconds);
        self.created_at <= at && ends.is_none_or(|ends| u64::from(at.as_secs()) < ends)
    }

    fn may_sign(&self) -> bool {
        self.newest().is_some_and(|signature| signature.key_flags().sign())
    }

    /// The newest word counts: a key's life may have been prolonged, or shortened.
    fn newest(&self) -> Option<&'k Signature> {
        self.says.iter().copied().max_by_key(|signature| signature.created())
    }
}

fn fingerprint(key: &SignedPublicKey) -> String {
    format!("{:x}", key.fingerprint())
}

#[cfg(test)]
mod tests {
    use pgp::{
        composed::{ArmorOptions, KeyType, SecretKeyParamsBuilder, SignedSecretKey, SubkeyParamsBuilder, SubpacketConfig},
        crypto::hash::HashAlgorithm,
        packet::{KeyFlags, SignatureConfig, Subpacket, SubpacketData},
        ser::Serialize,
        types::{Duration, Password, SignedUser},
    };
    use rand::rngs::OsRng;

    use super::*;

    const DOCUMENT: &[u8] = b"aa  terraform_1.9.8_linux_amd64.zip\n";
    const BORN: u32 = 1_700_000_000;
    const YEAR: u32 = 365 * 86_400;

    fn secret() -> SignedSecretKey {
        let at = Timestamp::from_secs(BORN);
        let subkey = SubkeyParamsBuilder::default().key_type(KeyType::Ed25519Legacy).can_sign(true).created_at(at).build().unwrap();
        let mut key = SecretKeyParamsBuilder::default();
        key.key_type(KeyType::Ed25519Legacy)
            .can_certify(true)
            .can_sign(true)
            .created_at(at)
            .primary_user_id("a <a@b>".to_owned())
            .subkey(subkey);
        key.build().unwrap().generate(OsRng).unwrap()
    }

    fn regular(data: SubpacketData) -> Subpacket {
        Subpacket::regular(data).unwrap()
    }

    fn config(kind: SignatureType, secret: &SignedSecretKey, at: u32, more: Vec<SubpacketData>) -> SignatureConfig {
        let mut config = SignatureConfig::v4(kind, secret.primary_key.algorithm(), HashAlgorithm::Sha512);
        let issuer = SubpacketData::IssuerFingerprint(secret.primary_key.fingerprint());
        let all = [SubpacketData::SignatureCreationTime(Timestamp::from_secs(at)), issuer].into_iter().chain(more);
        config.hashed_subpackets = all.map(regular).collect();
        config
    }

    /// The public key, with what its owner says of it in another way.
    fn public(secret: &SignedSecretKey, lasts: Option<u32>, signs: bool) -> SignedPublicKey {
        let mut key = secret.to_public_key();
        let mut flags = KeyFlags::default();
        flags.set_certify(true);
        flags.set_sign(signs);
        let more = std::iter::once(SubpacketData::KeyFlags(flags));
        let more = more.chain(lasts.map(|seconds| SubpacketData::KeyExpirationTime(Duration::from_secs(seconds)))).collect();
        let id = key.details.users[0].id.clone();
        let config = config(SignatureType::CertPositive, secret, BORN, more);
        let says = config.sign_certification(&secret.primary_key, &secret.primary_key.public_key(), &Password::empty(), Tag::UserId, &id);
        key.details.users = vec![SignedUser::new(id, vec![says.unwrap()])];
        key
    }

    fn signed(secret: &SignedSecretKey, at: u32) -> Vec<u8> {
        let config = config(SignatureType::Binary, secret, at, Vec::new());
        DetachedSignature::new(config.sign(&secret.primary_key, &Password::empty(), DOCUMENT).unwrap()).to_bytes().unwrap()
    }

    fn problem(key: &SignedPublicKey, signature: &[u8]) -> Option<String> {
        let keys = Keys::parse(key.to_armored_string(ArmorOptions::default()).unwrap().as_bytes()).unwrap();
        keys.check(DOCUMENT, signature).err().map(|error| error.to_string())
    }

    #[test]
    fn a_key_and_its_subkey_sign_for_it() {
        let secret = secret();
        let key = secret.to_public_key();
        let subkey = &secret.secret_subkeys[0].key;
        let by_subkey = DetachedSignature::sign_binary_data_with_subpackets(
            OsRng,
            subkey,
            &Password::empty(),
            HashAlgorithm::Sha256,
            DOCUMENT,
            SubpacketConfig::Default,
        );
        let by_subkey = by_subkey.unwrap();
        for signature in [signed(&secret, BORN + 1), by_subkey.to_bytes().unwrap()] {
            assert_eq!(problem(&key, &signature), None);
        }
        assert_eq!(problem(&key, by_subkey.to_armored_string(ArmorOptions::default()).unwrap().as_bytes()), None);
        let mut without = key;
        without.public_subkeys.clear();
        assert!(problem(&without, &by_subkey.to_bytes().unwrap()).unwrap().contains("none of the keys"));
    }

    #[test]
    fn a_subkey_that_does_not_consent_signs_for_nobody() {
        let (own, other) = (secret(), secret());
        let signature =
            DetachedSignature::sign_binary_data(OsRng, &own.secret_subkeys[0].key, &Password::empty(), HashAlgorithm::Sha256, DOCUMENT);
        let mut claimed = other.to_public_key();
        claimed.public_subkeys = own.to_public_key().public_subkeys;
        assert!(problem(&claimed, &signature.unwrap().to_bytes().unwrap()).unwrap().contains("not valid at the time"));
    }

    #[test]
    fn the_time_of_the_signature_decides_whether_the_key_was_valid() {
        let secret = secret();
        let key = public(&secret, Some(YEAR), true);
        for (at, good) in [(BORN - 1, false), (BORN, true), (BORN + YEAR - 1, true), (BORN + YEAR, false)] {
            assert_eq!(problem(&key, &signed(&secret, at)).is_none(), good, "{at}");
        }
        assert_eq!(problem(&public(&secret, None, true), &signed(&secret, BORN + 9 * YEAR)), None);
    }

    #[test]
    fn a_revoked_key_and_one_that_only_certifies_do_not_count() {
        let secret = secret();
        let mut key = public(&secret, None, true);
        let revocation = config(SignatureType::KeyRevocation, &secret, BORN + 5, Vec::new());
        let revocation = revocation.sign_key(&secret.primary_key, &Password::empty(), secret.primary_key.public_key()).unwrap();
        key.details.revocation_signatures.push(revocation);
        assert!(problem(&key, &signed(&secret, BORN + 1)).unwrap().contains("revoked"));
        assert!(problem(&public(&secret, None, false), &signed(&secret, BORN + 1)).unwrap().contains("not one for signing"));
    }

    #[test]
    fn another_document_another_key_and_garbage_are_refused() {
        let (secret, other) = (secret(), secret());
        let (key, signature) = (secret.to_public_key(), signed(&secret, BORN + 1));
        let keys = Keys::parse(&key.to_bytes().unwrap()).unwrap();
        assert!(keys.check(DOCUMENT, &signature).is_ok());
        assert!(keys.check(b"another", &signature).is_err());
        assert!(keys.check(DOCUMENT, &signature[..signature.len() - 1]).is_err());
        for garbage in [&b""[..], b"-----BEGIN PGP SIGNATURE-----\n\nxx\n-----END PGP SIGNATURE-----\n", b"\x00\x01"] {
            assert!(keys.check(DOCUMENT, garbage).is_err());
        }
        let unknown = problem(&other.to_public_key(), &signature).unwrap();
        assert!(
            unknown.contains("none of the keys signed this list") && unknown.contains(&fingerprint(&other.to_public_key())),
            "{unknown}"
        );
        for garbage in [&b""[..], b"no key", BEGIN.as_bytes()] {
            assert!(Keys::parse(garbage).is_err());
        }
    }

    #[test]
    fn several_keys_in_one_file_are_all_known() {
        let (one, two) = (secret(), secret());
        let armored = |secret: &SignedSecretKey| secret.to_public_key().to_armored_string(ArmorOptions::default()).unwrap();
        let keys = Keys::parse(format!("{}\n{}", armored(&one), armored(&two)).as_bytes()).unwrap();
        for secret in [&one, &two] {
            assert!(keys.check(DOCUMENT, &signed(secret, BORN + 1)).is_ok());
        }
        assert!(keys.of_vendor(EngineKind::Terraform).unwrap_err().to_string().contains(HASHICORP));
    }
}
