//! Secrets are masked in logs before the logs leave the runner.
//!
//! The result is a function of the raw bytes alone, not of how they arrive: after a restart the log is read from the
//! start again, masked again, and continues exactly where it was acknowledged.

use tfe_core::secret::Secret;

/// What stands for a secret.
const MASK: &[u8] = b"***";
/// Shorter values are not masked: they occur everywhere, and masking them would destroy the log.
const MIN_SECRET_BYTES: usize = 4;
/// Lines longer than this are passed on in parts.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// Masks a log that comes in pieces.
#[derive(Debug)]
pub(crate) struct Masker {
    secrets: Vec<Needle>,
    longest: usize,
    pending: Vec<u8>,
    /// How much of what is pending has no end of a line.
    looked_at: usize,
}

struct Needle(Vec<u8>);

impl std::fmt::Debug for Needle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Needle(…)")
    }
}

impl Masker {
    /// Masks these values, each line of them, and their form inside JSON.
    pub(crate) fn new<'s>(secrets: impl IntoIterator<Item = &'s Secret>) -> Self {
        let mut needles: Vec<Vec<u8>> = Vec::new();
        for line in secrets.into_iter().flat_map(|secret| secret.expose().lines()) {
            let escaped = serde_json::to_string(line).unwrap_or_default();
            for form in [line, escaped.trim_matches('"')] {
                if form.trim().len() >= MIN_SECRET_BYTES {
                    needles.push(form.trim().as_bytes().to_vec());
                }
            }
        }
        // The longest first, so that a secret within a secret leaves nothing over.
        needles.sort_by_key(|needle| std::cmp::Reverse(needle.len()));
        needles.dedup();
        let longest = needles.first().map_or(0, Vec::len);
        Self { secrets: needles.into_iter().map(Needle).collect(), longest, pending: Vec::new(), looked_at: 0 }
    }

    /// Takes more of the log and gives what is safe to pass on.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.pending.extend_from_slice(bytes);
        let (mut passed, mut start) = (Vec::new(), 0);
        while let Some(length) = self.cut(start) {
            passed.extend(self.masked(&self.pending[start..start + length]));
            start += length;
            self.looked_at = 0;
        }
        self.pending.drain(..start);
        self.looked_at = self.pending.len();
        passed
    }

    /// The rest, when no more will come.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        let rest = std::mem::take(&mut self.pending);
        self.masked(&rest)
    }

    /// How long the next part is: to the end of a line, or of a part of a line that is too long, and then not within
    /// a secret.
    fn cut(&self, start: usize) -> Option<usize> {
        let pending = &self.pending[start..];
        let line = pending.iter().take(MAX_LINE_BYTES).skip(self.looked_at).position(|byte| *byte == b'\n');
        if let Some(end) = line {
            return Some(self.looked_at + end + 1);
        }
        // Enough must be there to see any secret that begins before the cut.
        if pending.len() < MAX_LINE_BYTES + self.longest {
            return None;
        }
        let mut end = MAX_LINE_BYTES;
        // A cut that moved out of one secret can be within another one.
        while let Some(earlier) = self.secrets.iter().find_map(|Needle(needle)| begins_before(pending, needle, end)) {
            end = earlier;
        }
        Some(end.max(1))
    }

    fn masked(&self, text: &[u8]) -> Vec<u8> {
        self.secrets.iter().fold(text.to_vec(), |text, Needle(needle)| replace(&text, needle))
    }
}

fn replace(text: &[u8], needle: &[u8]) -> Vec<u8> {
    let (mut replaced, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some(at) = find(rest, needle) {
        replaced.extend_from_slice(&rest[..at]);
        replaced.extend_from_slice(MASK);
        rest = &rest[at + needle.len()..];
    }
    replaced.extend_from_slice(rest);
    replaced
}

/// Where an occurrence begins that the cut would go through.
fn begins_before(text: &[u8], needle: &[u8], cut: usize) -> Option<usize> {
    let from = cut.saturating_sub(needle.len() - 1);
    let window = &text[from..(cut + needle.len() - 1).min(text.len())];
    find(window, needle).map(|at| from + at)
}

fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    text.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_does_not_depend_on_the_pieces_and_holds_no_secret() {
        let secrets = [Secret::from("hunter2"), Secret::from("first line\nsecond \"line\""), Secret::from("abc")];
        let long = "x".repeat(MAX_LINE_BYTES - 3) + "hunter2" + &"y".repeat(MAX_LINE_BYTES);
        let text = format!("a hunter2 b\n{{\"v\":\"second \\\"line\\\"\"}}\nabc first line{long}\nend hunter2");
        let whole = mask(&secrets, &text, text.len());
        for size in [1, 2, 7, 1000, 65_536] {
            assert_eq!(mask(&secrets, &text, size), whole, "in pieces of {size}");
        }
        assert!(!whole.contains("hunter2") && !whole.contains("first line") && !whole.contains("second"));
        assert!(whole.contains("a *** b\n") && whole.contains("\nabc ***x") && whole.ends_with("end ***"));
    }

    fn mask(secrets: &[Secret], text: &str, size: usize) -> String {
        let mut masker = Masker::new(secrets);
        let mut masked: Vec<u8> = text.as_bytes().chunks(size).flat_map(|piece| masker.push(piece)).collect();
        masked.extend(masker.finish());
        String::from_utf8(masked).unwrap()
    }
}
