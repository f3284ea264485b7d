//! `SHA256SUMS`: lines of a digest and a file's name.

/// The digest of the file of that name, in lower case; none if the list does not have it, or has it twice differently.
pub(super) fn digest(list: &str, name: &str) -> Option<String> {
    let mut digests = list.lines().filter_map(|line| {
        let (digest, file) = line.trim().split_once(char::is_whitespace)?;
        // A star marks binary mode, as sha256sum writes it.
        let file = file.trim_start().trim_start_matches('*');
        let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        (file == name && is_digest).then(|| digest.to_ascii_lowercase())
    });
    let first = digests.next()?;
    digests.all(|other| other == first).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::digest;

    #[test]
    fn a_file_is_found_by_its_whole_name() {
        let (one, two) = ("a".repeat(64), "B".repeat(64));
        let list = format!("{one}  terraform_1.9.8_linux_amd64.zip\r\n{two} *terraform_1.9.8_linux_arm64.zip\n\nshort  x\n{one}  x y\n");
        assert_eq!(digest(&list, "terraform_1.9.8_linux_amd64.zip"), Some(one.clone()));
        assert_eq!(digest(&list, "terraform_1.9.8_linux_arm64.zip"), Some("b".repeat(64)));
        assert_eq!(digest(&list, "x y"), Some(one));
        for absent in ["terraform_1.9.8_linux_amd64", "x", "", "linux_amd64.zip"] {
            assert_eq!(digest(&list, absent), None, "{absent}");
        }
    }

    #[test]
    fn a_file_with_two_digests_has_none() {
        let list = format!("{}  x\n{}  x\n", "a".repeat(64), "b".repeat(64));
        assert_eq!(digest(&list, "x"), None);
    }
}
