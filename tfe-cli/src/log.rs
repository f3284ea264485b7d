//! A log as it comes in pieces: markers taken away, characters put together again.

/// The byte before a log's first.
const BEGIN: u8 = 0x02;
/// The byte after a log's last.
const END: u8 = 0x03;

/// Puts the pieces of a log together.
#[derive(Debug, Default)]
pub(crate) struct LogReader {
    /// How many bytes came, markers included: where the next piece begins.
    pub(crate) offset: u64,
    /// Whether the end was seen.
    pub(crate) is_complete: bool,
    /// The beginning of a character whose end has not come yet.
    partial: Vec<u8>,
}

impl LogReader {
    /// Takes the next piece and gives the text in it.
    pub(crate) fn take(&mut self, piece: &[u8]) -> String {
        let is_first = self.offset == 0;
        self.offset += piece.len() as u64;
        let piece = if is_first { piece.strip_prefix(&[BEGIN]).unwrap_or(piece) } else { piece };
        let piece = match piece.strip_suffix(&[END]) {
            Some(rest) => {
                self.is_complete = true;
                rest
            }
            None => piece,
        };
        self.partial.extend_from_slice(piece);
        let whole = if self.is_complete { self.partial.len() } else { whole_characters(&self.partial) };
        let text: Vec<u8> = self.partial.drain(..whole).collect();
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// How many bytes end with a whole character, or with something that will never be one.
fn whole_characters(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_cut_anywhere_is_read_whole() {
        let log = "\u{2}ab → ü\nend\u{3}".as_bytes();
        for cut in 0..log.len() {
            let mut reader = LogReader::default();
            let text = reader.take(&log[..cut]) + &reader.take(&log[cut..]);
            assert_eq!((text.as_str(), reader.is_complete, reader.offset), ("ab → ü\nend", true, log.len() as u64));
        }
    }

    #[test]
    fn bytes_that_are_no_text_do_not_stop_it() {
        let mut reader = LogReader::default();
        assert_eq!(reader.take(b"\x02a\xffb"), "a\u{fffd}b");
        assert!(!reader.is_complete);
    }
}
