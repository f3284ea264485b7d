//! Authenticated encryption (AES-256-GCM) as a pure function: the key, the nonce and the text come from the caller.
//!
//! One place for the primitive, so that the vault, the blobs and the runner's spool cannot differ in it.
//! The rule that a nonce never repeats under a key is the caller's: [`Nonce::counter`] for a key used once,
//! [`Nonce::from_random`] for a long-lived key.

use std::fmt;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, UnboundKey},
    hmac,
};
use zeroize::Zeroizing;

/// Length of a key in bytes.
pub const KEY_LENGTH: usize = 32;
/// Bytes that sealing adds to a text: the authentication tag.
pub const TAG_LENGTH: usize = 16;
/// Length of a nonce in bytes.
pub const NONCE_LENGTH: usize = NONCE_LEN;

/// A symmetric key; not printable, wiped on drop.
#[derive(Clone)]
pub struct Key(Zeroizing<[u8; KEY_LENGTH]>);

/// A number used once.
#[derive(Debug, Clone, Copy)]
pub struct Nonce([u8; NONCE_LENGTH]);

/// The text does not belong to this key and context, or was changed. Nothing more can be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the data was changed or belongs to another key")]
pub struct Tampered;

impl Key {
    /// A key from its bytes.
    pub fn new(bytes: [u8; KEY_LENGTH]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A key from a slice, if it has the right length.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::new)
    }

    /// The bytes, for wrapping the key under another one.
    pub fn expose(&self) -> &[u8; KEY_LENGTH] {
        &self.0
    }

    /// Another key, of which this one cannot be told: HMAC-SHA256 of the text. What seals a content once may be derived from it.
    #[must_use]
    pub fn derive(&self, text: &[u8]) -> Self {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, self.0.as_slice()), text);
        Self::from_slice(tag.as_ref()).expect("the digest has the length of a key")
    }

    /// Encrypts in place and appends the tag. `context` must be given again to open.
    pub fn seal(&self, nonce: Nonce, context: &[u8], text: &mut Vec<u8>) {
        let nonce = aws_lc_rs::aead::Nonce::assume_unique_for_key(nonce.0);
        self.cipher().seal_in_place_append_tag(nonce, Aad::from(context), text).expect("texts are far below the cipher's 64 GiB");
    }

    /// Decrypts in place and drops the tag.
    pub fn open(&self, nonce: Nonce, context: &[u8], sealed: &mut Vec<u8>) -> Result<(), Tampered> {
        let nonce = aws_lc_rs::aead::Nonce::assume_unique_for_key(nonce.0);
        let length = self.cipher().open_in_place(nonce, Aad::from(context), sealed).map_err(|_| Tampered)?.len();
        sealed.truncate(length);
        Ok(())
    }

    fn cipher(&self) -> LessSafeKey {
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, self.0.as_slice()).expect("the key has the cipher's length"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Nonce {
    /// For a key that seals one message in numbered segments. `last` marks the final one, so that a cut
    /// between segments is noticed.
    pub fn counter(segment: u64, last: bool) -> Self {
        let mut bytes = [0; NONCE_LENGTH];
        bytes[..8].copy_from_slice(&segment.to_be_bytes());
        bytes[NONCE_LENGTH - 1] = u8::from(last);
        Self(bytes)
    }

    /// For a long-lived key; the bytes must be random.
    pub fn from_random(bytes: [u8; NONCE_LENGTH]) -> Self {
        Self(bytes)
    }

    /// The bytes, to be stored beside the sealed text.
    pub fn as_bytes(&self) -> &[u8; NONCE_LENGTH] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_keys_follow_from_key_and_text() {
        let (one, other) = (Key::new([7; KEY_LENGTH]), Key::new([8; KEY_LENGTH]));
        assert_eq!(one.derive(b"a").expose(), one.derive(b"a").expose());
        assert_ne!(one.derive(b"a").expose(), one.derive(b"b").expose());
        assert_ne!(one.derive(b"a").expose(), other.derive(b"a").expose());
    }

    #[test]
    fn opens_what_it_sealed_and_nothing_else() {
        let key = Key::new([7; KEY_LENGTH]);
        let mut text = b"state".to_vec();
        key.seal(Nonce::counter(3, true), b"here", &mut text);
        assert_eq!(text.len(), 5 + TAG_LENGTH);
        for (nonce, context) in
            [(Nonce::counter(3, false), b"here"), (Nonce::counter(4, true), b"here"), (Nonce::counter(3, true), b"else")]
        {
            assert_eq!(key.open(nonce, context, &mut text.clone()), Err(Tampered));
        }
        for index in 0..text.len() {
            let mut changed = text.clone();
            changed[index] ^= 1;
            assert_eq!(key.open(Nonce::counter(3, true), b"here", &mut changed), Err(Tampered));
        }
        key.open(Nonce::counter(3, true), b"here", &mut text).unwrap();
        assert_eq!(text, b"state");
    }
}
