//! Which state may follow the current one: serials rise, lineages stay.

use std::{cmp::Ordering, fmt::Write};

use md5::{Digest, Md5};

use super::StateFile;
use crate::error::Invalid;

/// The state that a workspace has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Current {
    /// Its serial.
    pub serial: u64,
    /// Its lineage.
    pub lineage: String,
    /// Hex MD5 of its content.
    pub md5: String,
}

/// What the client says of the state that it sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Its serial.
    pub serial: u64,
    /// Its lineage, if the client says; the command line does, API clients need not.
    pub lineage: Option<String>,
    /// Hex MD5 of its content.
    pub md5: String,
    /// Whether it may replace any state: no check of lineage and serial.
    pub force: bool,
}

/// What to do with an upload that is fine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// Store it.
    New,
    /// It is the current state, sent once more; answer as the first time.
    AlreadyStored,
}

/// Why a state may not follow the current one. The texts are those that Terraform Enterprise answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StateConflict {
    /// Somebody wrote in between. 412: pull, and do the work again.
    #[error(
        "The serial provided in the state file is not greater than the serial currently known remotely. This means that there may be \
         an update to the state that was not taken into account. Pull the current state and do the work again"
    )]
    OlderSerial,
    /// Two different states claim to be the same one. 409: pull, and do the work again.
    #[error("The MD5 hash of the state provided does not match what is currently known for the same serial number")]
    SameSerialOtherContent,
    /// The state is the history of something else. 409: force, if that is meant.
    #[error("The lineage provided in the state file does not match the value currently known by this workspace")]
    OtherLineage,
}

/// Whether the state may follow the current one. Serials of different lineages cannot be compared, so the lineage is first.
pub fn check_upload(current: Option<&Current>, new: &Upload) -> Result<Accepted, StateConflict> {
    let Some(current) = current else { return Ok(Accepted::New) };
    let same_lineage = new.lineage.as_ref().is_none_or(|lineage| *lineage == current.lineage);
    let same_content = new.md5.eq_ignore_ascii_case(&current.md5);
    match new.serial.cmp(&current.serial) {
        _ if !same_lineage && !new.force => Err(StateConflict::OtherLineage),
        Ordering::Equal if same_lineage && same_content => Ok(Accepted::AlreadyStored),
        _ if new.force => Ok(Accepted::New),
        Ordering::Less => Err(StateConflict::OlderSerial),
        Ordering::Equal => Err(StateConflict::SameSerialOtherContent),
        Ordering::Greater => Ok(Accepted::New),
    }
}

/// Whether the content, of which digest and reading are given, is what the client announced.
///
/// The announced serial wins over the file's: the API accepts a file again under a higher serial
/// (go-tfe 1.109, `createStateVersion` of its tests), so a difference is no error.
pub fn check_content<'f>(upload: &Upload, md5: &str, file: &'f Result<StateFile, Invalid>) -> Result<&'f StateFile, Invalid> {
    if !upload.md5.eq_ignore_ascii_case(md5) {
        return Err(Invalid::attribute("md5", "The MD5 parameter passed does not match the MD5 of the provided state"));
    }
    let file = file.as_ref().map_err(Clone::clone)?;
    file.require_storable()?;
    match &upload.lineage {
        Some(lineage) if *lineage != file.lineage => {
            Err(Invalid::attribute("lineage", "The lineage parameter passed does not match the lineage of the provided state"))
        }
        _ => Ok(file),
    }
}

/// The hex MD5 of a state's content, by which the protocol knows equal states. It protects from accidents only.
pub fn md5_hex(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a string takes every text");
        hex
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn current() -> Current {
        Current { serial: 5, lineage: "a".to_owned(), md5: "0f".to_owned() }
    }

    fn upload(serial: u64, lineage: &str, md5: &str, force: bool) -> Upload {
        Upload { serial, lineage: Some(lineage.to_owned()), md5: md5.to_owned(), force }
    }

    #[test]
    fn serials_rise_and_lineages_stay() {
        use StateConflict::{OlderSerial, OtherLineage, SameSerialOtherContent};
        for (new, answer) in [
            (upload(6, "a", "1f", false), Ok(Accepted::New)),
            (upload(5, "a", "0F", false), Ok(Accepted::AlreadyStored)),
            (upload(5, "a", "1f", false), Err(SameSerialOtherContent)),
            (upload(4, "a", "0f", false), Err(OlderSerial)),
            (upload(9, "b", "1f", false), Err(OtherLineage)),
            (upload(1, "b", "1f", false), Err(OtherLineage)),
            (upload(1, "b", "1f", true), Ok(Accepted::New)),
            (upload(5, "a", "1f", true), Ok(Accepted::New)),
            (upload(5, "a", "0f", true), Ok(Accepted::AlreadyStored)),
            (upload(5, "b", "0f", true), Ok(Accepted::New)),
            (Upload { lineage: None, ..upload(6, "", "1f", false) }, Ok(Accepted::New)),
            (Upload { lineage: None, ..upload(4, "", "1f", false) }, Err(OlderSerial)),
        ] {
            assert_eq!(check_upload(Some(&current()), &new), answer, "{new:?}");
        }
        assert_eq!(check_upload(None, &upload(0, "x", "1f", false)), Ok(Accepted::New));
    }

    #[test]
    fn content_is_what_was_announced() {
        let bytes = br#"{"version":4,"serial":5,"lineage":"a"}"#;
        let announced = upload(5, "a", &md5_hex(bytes).to_uppercase(), false);
        let check = |upload: &Upload, bytes: &[u8]| check_content(upload, &md5_hex(bytes), &StateFile::parse(bytes)).cloned();
        assert_eq!(check(&announced, bytes).unwrap().serial, 5);
        assert_eq!(check(&Upload { serial: 8, lineage: None, ..announced.clone() }, bytes).unwrap().lineage, "a");
        let pointer = |upload: &Upload, bytes: &[u8]| check(upload, bytes).unwrap_err().pointer;
        assert_eq!(pointer(&Upload { md5: md5_hex(b""), ..announced.clone() }, bytes), "/data/attributes/md5");
        assert_eq!(pointer(&Upload { lineage: Some("b".to_owned()), ..announced.clone() }, bytes), "/data/attributes/lineage");
        assert_eq!(pointer(&Upload { md5: md5_hex(b"no"), ..announced }, b"no"), "/data/attributes/state");
    }

    #[test]
    fn md5_is_lower_case_hex() {
        assert_eq!(md5_hex(b""), "d41d8cd98f00b204e9800998ecf8427e");
    }

    proptest! {
        #[test]
        fn an_accepted_serial_never_falls_unless_forced(serial in 0u64..10, lineage in "[ab]", md5 in "[01]f", force: bool) {
            let new = upload(serial, &lineage, &md5, force);
            if check_upload(Some(&current()), &new).is_ok() && !force {
                prop_assert!(new.serial >= current().serial);
                prop_assert_eq!(new.lineage, Some(current().lineage));
            }
        }
    }
}
