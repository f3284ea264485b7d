//! Identifiers: a prefix that names the kind, and sixteen characters of chance.
//!
//! The form (`ws-` and sixteen of `[A-Za-z0-9]`) is the one clients know from Terraform Enterprise;
//! they only require that an id holds no slash and no white space. The phantom type keeps a run's id
//! from being used where a workspace's is meant.

use std::{cmp::Ordering, fmt, hash, marker::PhantomData};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How many random characters follow the prefix; sixteen of 62 carry 95 bits.
pub const RANDOM_LENGTH: usize = 16;

/// Base 58: letters and digits without the ones that people confuse.
const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// What an id can name. Implemented by records and by parts of records that clients address.
pub trait Identified {
    /// The text before the dash, as in `ws-…`.
    const PREFIX: &'static str;
}

/// The id of a `T`.
pub struct Id<T> {
    text: String,
    of: PhantomData<fn() -> T>,
}

/// A source of random bytes; the operating system's in production, a seeded one in simulations.
pub trait Entropy: fmt::Debug + Send + Sync + 'static {
    /// Fills the whole buffer.
    fn fill(&self, buffer: &mut [u8]);
}

impl<T: Identified> Id<T> {
    /// A new id.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        Self::from(format!("{}-{}", T::PREFIX, random_text(entropy, RANDOM_LENGTH)))
    }
}

impl<T> Id<T> {
    /// The id as clients write it.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Random text of `length` characters, fit for ids, tokens and names.
pub fn random_text(entropy: &dyn Entropy, length: usize) -> String {
    // 58 * 4 = 232: bytes from 232 up would favour the first letters and are drawn again.
    const FAIR: u8 = 232;
    let mut text = String::with_capacity(length);
    let mut buffer = [0_u8; 32];
    while text.len() < length {
        entropy.fill(&mut buffer);
        let fair = buffer.iter().filter(|byte| **byte < FAIR);
        text.extend(fair.map(|byte| ALPHABET[usize::from(*byte % 58)] as char).take(length - text.len()));
    }
    text
}

impl<T> From<String> for Id<T> {
    fn from(text: String) -> Self {
        Self { text, of: PhantomData }
    }
}

impl<T> From<&str> for Id<T> {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

impl<T> fmt::Display for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        Self::from(self.text.clone())
    }
}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl<T> Eq for Id<T> {}

impl<T> PartialOrd for Id<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Id<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl<T> hash::Hash for Id<T> {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl<T> Serialize for Id<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de, T> Deserialize<'de> for Id<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}
