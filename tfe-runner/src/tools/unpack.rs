//! Taking the program out of an archive. Nothing else of it is written, and the program's place does not depend on any
//! name in the archive, so that none can lead elsewhere.

use std::{
    fs::File,
    io::{self, Read, Seek, Write},
};

use flate2::read::MultiGzDecoder;

use super::error::ToolError;

/// Largest program: several times those of today's engines.
pub(super) const MAX_PROGRAM_BYTES: u64 = 1 << 30;
/// Most entries of an archive; those of vendors have two to five.
const MAX_ENTRIES: usize = 1_000;

/// Writes the program of that name, at the top of the archive (zip, or gzip-compressed tar), to `out`, if it has no
/// more than `limit_bytes`.
pub(super) fn program(archive: &mut File, name: &str, limit_bytes: u64, out: &mut impl Write) -> Result<(), ToolError> {
    let mut magic = [0; 2];
    archive.rewind()?;
    archive.read_exact(&mut magic).map_err(damaged)?;
    archive.rewind()?;
    match &magic {
        b"PK" => from_zip(archive, name, limit_bytes, out),
        [0x1f, 0x8b] => from_tar(archive, name, limit_bytes, out),
        _ => Err(wrong("it is neither zip nor tar.gz")),
    }
}

fn from_zip(archive: &mut File, name: &str, limit_bytes: u64, out: &mut impl Write) -> Result<(), ToolError> {
    let mut zip = zip::ZipArchive::new(io::BufReader::new(archive)).map_err(damaged)?;
    if zip.len() > MAX_ENTRIES {
        return Err(wrong(&format!("it has more than {MAX_ENTRIES} entries")));
    }
    if zip.has_duplicate_names() {
        return Err(wrong("it has two entries of one name"));
    }
    let place = zip.index_for_name(name).ok_or_else(|| absent(name))?;
    let entry = zip.by_index(place).map_err(damaged)?;
    if !entry.is_file() || entry.is_symlink() {
        return Err(absent(name));
    }
    copy(entry, limit_bytes, out)
}

fn from_tar(archive: &mut File, name: &str, limit_bytes: u64, out: &mut impl Write) -> Result<(), ToolError> {
    // Whatever its headers say, no more than this is ever unpacked.
    let unpacked = MultiGzDecoder::new(io::BufReader::new(archive)).take(2 * limit_bytes);
    let mut tar = tar::Archive::new(unpacked);
    let mut is_found = false;
    for (place, entry) in tar.entries().map_err(damaged)?.enumerate() {
        let entry = entry.map_err(damaged)?;
        if place >= MAX_ENTRIES {
            return Err(wrong(&format!("it has more than {MAX_ENTRIES} entries")));
        }
        let path = entry.path().map_err(damaged)?;
        if path.strip_prefix(".").unwrap_or(&path).as_os_str() != name {
            continue;
        }
        if is_found {
            return Err(wrong("it has two entries of one name"));
        }
        if entry.header().entry_type() != tar::EntryType::Regular {
            return Err(absent(name));
        }
        copy(entry, limit_bytes, out)?;
        is_found = true;
    }
    // The rest, up to the checksum: an archive that was cut off must not pass.
    io::copy(&mut tar.into_inner(), &mut io::sink()).map_err(damaged)?;
    if is_found { Ok(()) } else { Err(absent(name)) }
}

fn copy(program: impl Read, limit_bytes: u64, out: &mut impl Write) -> Result<(), ToolError> {
    let mut program = program.take(limit_bytes + 1);
    let (mut buffer, mut written) = (vec![0; 256 * 1024], 0);
    loop {
        let length = program.read(&mut buffer).map_err(damaged)?;
        if length == 0 {
            return Ok(());
        }
        written += length as u64;
        if written > limit_bytes {
            return Err(wrong(&format!("its program has more than {limit_bytes} bytes")));
        }
        out.write_all(&buffer[..length])?;
    }
}

fn absent(name: &str) -> ToolError {
    wrong(&format!("it has no program \"{name}\" at its top"))
}

fn damaged(error: impl std::fmt::Display) -> ToolError {
    wrong(&format!("it cannot be unpacked: {error}"))
}

fn wrong(what: &str) -> ToolError {
    ToolError::Untrusted(format!("the archive is not one of this engine: {what}; use the vendor's archive"))
}

#[cfg(test)]
mod tests {
    use flate2::{Compression, write::GzEncoder};
    use tar::EntryType;
    use zip::write::SimpleFileOptions;

    use super::*;

    const LIMIT: u64 = 4 << 20;

    /// What is in the archive: a name as an attacker writes it, and what it is.
    type Entries<'e> = &'e [(&'e str, EntryType, &'e [u8])];

    fn zipped(entries: Entries<'_>) -> Vec<u8> {
        let mut zip = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().unix_permissions(0o755);
        for (name, kind, content) in entries {
            match kind {
                EntryType::Symlink => zip.add_symlink(*name, str::from_utf8(content).unwrap(), options).unwrap(),
                EntryType::Directory => zip.add_directory(*name, options).unwrap(),
                _ => {
                    zip.start_file(*name, options).unwrap();
                    zip.write_all(content).unwrap();
                }
            }
        }
        zip.finish().unwrap().into_inner()
    }

    fn tarred(entries: Entries<'_>) -> Vec<u8> {
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (name, kind, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            let is_link = matches!(kind, EntryType::Symlink | EntryType::Link);
            if is_link {
                header.set_link_name(str::from_utf8(content).unwrap()).unwrap();
            }
            let content = if is_link { &[] } else { *content };
            header.set_size(content.len() as u64);
            header.set_mode(0o755);
            header.set_cksum();
            tar.append(&header, content).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap()
    }

    fn taken(archive: &[u8]) -> Result<Vec<u8>, String> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(archive).unwrap();
        let mut out = Vec::new();
        program(&mut file, "terraform", LIMIT, &mut out).map(|()| out).map_err(|error| match error {
            ToolError::Untrusted(reason) => reason,
            other => panic!("{other:?}"),
        })
    }

    fn refused(entries: Entries<'_>, why: &str) {
        for archive in [zipped(entries), tarred(entries)] {
            let error = taken(&archive).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn the_program_is_taken_and_nothing_else() {
        let entries: Entries<'_> = &[
            ("LICENSE.txt", EntryType::Regular, b"free"),
            ("../evil", EntryType::Regular, b"evil"),
            ("terraform", EntryType::Regular, b"good"),
        ];
        assert_eq!(taken(&zipped(entries)).unwrap(), b"good");
        assert_eq!(taken(&tarred(entries)).unwrap(), b"good");
        assert_eq!(taken(&tarred(&[("./terraform", EntryType::Regular, b"good")])).unwrap(), b"good");
    }

    #[test]
    fn a_name_that_only_looks_like_it_is_none() {
        for name in ["../terraform", "/terraform", "bin/terraform", "terraform/terraform", "terraform.exe", "TERRAFORM", "a/../terraform"] {
            refused(&[(name, EntryType::Regular, b"evil")], "no program \"terraform\"");
        }
    }

    #[test]
    fn only_a_plain_file_is_a_program() {
        refused(&[("terraform", EntryType::Symlink, b"/bin/sh")], "no program");
        refused(&[("terraform", EntryType::Directory, b"")], "no program");
        let hardlink = tarred(&[("terraform", EntryType::Link, b"/bin/sh")]);
        assert!(taken(&hardlink).unwrap_err().contains("no program"));
        let twice = tarred(&[("terraform", EntryType::Regular, b"good"), ("./terraform", EntryType::Regular, b"evil")]);
        assert!(taken(&twice).unwrap_err().contains("two entries"));
    }

    #[test]
    fn a_bomb_is_noticed_before_it_is_unpacked() {
        let zeros = vec![0; usize::try_from(LIMIT).unwrap() + 1];
        refused(&[("terraform", EntryType::Regular, &zeros)], "more than 4194304 bytes");
        let beside =
            tarred(&[("readme", EntryType::Regular, &[zeros.clone(), zeros].concat()), ("terraform", EntryType::Regular, b"good")]);
        assert!(taken(&beside).unwrap_err().contains("cannot be unpacked"));
        let names: Vec<_> = (0..=MAX_ENTRIES).map(|number| number.to_string()).collect();
        let many: Vec<_> = names.iter().map(|name| (name.as_str(), EntryType::Regular, b"x".as_slice())).collect();
        refused(&many, "more than 1000 entries");
    }

    #[test]
    fn what_is_cut_off_or_something_else_is_refused() {
        let program = vec![7; 100_000];
        let entries: Entries<'_> = &[("terraform", EntryType::Regular, &program)];
        for archive in [zipped(entries), tarred(entries)] {
            for length in [0, 1, 10, archive.len() / 2, archive.len() - 1] {
                assert!(taken(&archive[..length]).is_err(), "{length} of {}", archive.len());
            }
        }
        assert!(taken(b"#!/bin/sh").unwrap_err().contains("neither zip nor tar.gz"));
    }
}
