//! Which programs may work on the data.
//!
//! What bodies mean can change in a way that older programs would get wrong. So the newest program notes its format in `meta`, and the
//! oldest one with which its data may still be written; a program that is older than that changes nothing and says so.

use super::notes::Notes;
use crate::error::{Error, Result};

/// The format of what this program writes. Raised when the meaning of a body changes.
const FORMAT: u32 = 1;
/// The oldest format whose programs may work on the same data as this one. Raised at the earliest one release after [`FORMAT`] was
/// raised for the change in question, so that neighbouring releases can always run side by side, in both directions.
const OLDEST: u32 = 1;
/// The release that a refused program names.
const RELEASE: &str = env!("CARGO_PKG_VERSION");
/// The names in `meta` of the newest format that wrote, of the oldest that may, and of the release that noted both.
const FORMAT_NAME: &str = "format";
const OLDEST_NAME: &str = "format oldest";
const RELEASE_NAME: &str = "format release";

/// Refuses a program that is too old for the data.
pub(super) fn check(notes: &Notes) -> Result<()> {
    let newest = number(notes, FORMAT_NAME)?.unwrap_or(FORMAT);
    // Releases before the oldest was noted followed no format but their own.
    let oldest = number(notes, OLDEST_NAME)?.unwrap_or(newest);
    if oldest <= FORMAT {
        return Ok(());
    }
    let writer = notes.definition(RELEASE_NAME).unwrap_or("a newer release");
    Err(Error::Incompatible(format!(
        "{writer} wrote it in format {newest}, which programs of format {oldest} and newer can follow, and this is {RELEASE} of format \
         {FORMAT}; nothing was changed; start {writer} or newer"
    )))
}

/// What to note, with its name: nothing if the notes are of a program as new as this one.
pub(super) fn news(notes: &Notes) -> Result<Vec<(&'static str, String)>> {
    let (newest, oldest) = (number(notes, FORMAT_NAME)?, number(notes, OLDEST_NAME)?);
    let is_outdated =
        newest.is_none_or(|newest| newest < FORMAT) || (newest == Some(FORMAT) && oldest.is_none_or(|oldest| oldest < OLDEST));
    let own = [(FORMAT_NAME, FORMAT.to_string()), (OLDEST_NAME, OLDEST.to_string()), (RELEASE_NAME, RELEASE.to_owned())];
    Ok(if is_outdated { own.into() } else { Vec::new() })
}

fn number(notes: &Notes, name: &str) -> Result<Option<u32>> {
    let parsed = |text: &str| text.parse().map_err(|_| Error::Incompatible(format!("its {name} is \"{text}\", which is no number")));
    notes.definition(name).map(parsed).transpose()
}
