//! The `h1:` hash of a directory, as dependency lock files have it: `Hash1` of Go's `golang.org/x/mod/sumdb/dirhash`.

use std::{
    fmt::Write,
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

/// How much is read at once.
const READ_BYTES: usize = 128 * 1024;

/// The hash of all files below a directory that nobody changes meanwhile.
pub(super) fn h1(directory: &Path) -> io::Result<String> {
    let mut files = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(inner) = waiting.pop() {
        for entry in fs::read_dir(inner)? {
            let path = entry?.path();
            if path.is_dir() {
                waiting.push(path);
                continue;
            }
            let name = path.strip_prefix(directory).ok().and_then(Path::to_str).filter(|name| !name.contains('\n'));
            let name = name.ok_or_else(|| io::Error::other("a file has a name that cannot be hashed"))?;
            files.push((name.to_owned(), path));
        }
    }
    files.sort();
    let mut lines = Sha256::new();
    for (name, path) in files {
        lines.update(format!("{}  {name}\n", hexadecimal(&digest(&path)?)));
    }
    Ok(format!("h1:{}", STANDARD.encode(lines.finalize())))
}

fn digest(path: &Path) -> io::Result<Vec<u8>> {
    let (mut file, mut content, mut part) = (File::open(path)?, Sha256::new(), vec![0; READ_BYTES]);
    loop {
        match file.read(&mut part)? {
            0 => return Ok(content.finalize().to_vec()),
            read => content.update(&part[..read]),
        }
    }
}

/// Two digits for each byte.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_lines_that_sha256sum_prints() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("b")).unwrap();
        fs::write(home.path().join("b/c"), "inner").unwrap();
        fs::write(home.path().join("b.txt"), "outer").unwrap();
        let script = "sha256sum b.txt b/c | sha256sum | perl -MMIME::Base64 -ne '/(\\w+)/ && print encode_base64(pack(\"H*\", $1))'";
        let printed = std::process::Command::new("sh").args(["-c", script]).current_dir(home.path()).output().unwrap().stdout;
        assert_eq!(h1(home.path()).unwrap(), format!("h1:{}", String::from_utf8(printed).unwrap().trim()));
    }
}
