//! Puts what `scan` printed: so entries get from one cluster to another, or back.

use std::io::{BufRead, Read};

use lsm_client::{Batch, Client};

use crate::escape::unescape;
use crate::failure::Failure;
use crate::keys::VALUE_BYTES_MAX;

/// A batch is sent once it holds so much: far less than any cluster takes unless it was told to
/// take little.
const BATCH_BYTES: usize = 256 << 10;
const BATCH_ENTRIES: usize = 1000;
/// Longest line: every byte of the longest key and value may be four on it.
const LINE_BYTES_MAX: u64 = 4 * (VALUE_BYTES_MAX + u16::MAX as u64) + 2;

type KeyValue = (Vec<u8>, Vec<u8>);

/// Entries on their way from lines to batches.
struct Lines<R> {
    from: R,
    /// Lines that were read.
    number: u64,
}

/// Puts the entries of all lines; returns how many. They are put in order, some at a time: if
/// it fails, those of the lines before were put.
pub(crate) async fn load(from: impl BufRead, client: &Client) -> Result<u64, Failure> {
    let mut lines = Lines { from, number: 0 };
    let (mut batch, mut bytes) = (Batch::new(), 0);
    loop {
        let entry = lines.next();
        if let Ok(Some((key, value))) = &entry {
            bytes += key.len() + value.len();
            batch.put(key, value);
        }
        let goes_on = matches!(entry, Ok(Some(_)));
        if !goes_on || bytes >= BATCH_BYTES || batch.len() >= BATCH_ENTRIES {
            client.write(&std::mem::take(&mut batch)).await?;
            bytes = 0;
        }
        match entry {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(lines.number),
            Err(reason) => {
                let (line, before) = (lines.number, lines.number - 1);
                return Err(Failure::Input(format!(
                    "line {line}: {reason}; the {before} before it were put"
                )));
            }
        }
    }
}

impl<R: BufRead> Lines<R> {
    /// The entry of the next line; none behind the last.
    fn next(&mut self) -> Result<Option<KeyValue>, String> {
        let mut line = Vec::new();
        let read = self.from.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        if let Ok(0) = read {
            return Ok(None);
        }
        self.number += 1;
        read.map_err(|error| error.to_string())?;
        if line.pop() != Some(b'\n') {
            return Err("it does not end: the output of the scan was cut off here".to_owned());
        }
        let tab = line.iter().position(|&byte| byte == b'\t');
        let tab = tab.ok_or("there is no tab between a key and a value")?;
        Ok(Some((unescape(&line[..tab])?, unescape(&line[tab + 1..])?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_entry_or_says_why_not() {
        let mut lines = Lines { from: &b"k\\n\tv\\t\n\\xff\t\n"[..], number: 0 };
        assert_eq!(lines.next(), Ok(Some((b"k\n".to_vec(), b"v\t".to_vec()))));
        assert_eq!(lines.next(), Ok(Some((b"\xff".to_vec(), Vec::new()))));
        assert_eq!((lines.next(), lines.number), (Ok(None), 2));
        for (text, why) in [
            ("k\tv", "cut off"),
            ("k\n", "no tab"),
            ("\n", "no tab"),
            ("k\\q\tv\n", "backslash at byte 2"),
            ("k\t\\\n", "backslash at byte 1"),
        ] {
            let error = Lines { from: text.as_bytes(), number: 0 }.next().unwrap_err();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }
}
