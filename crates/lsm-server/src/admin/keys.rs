//! Keys and values by hand: any bytes, as far as a terminal can say them.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use lsm_client::ScanStream;

use super::failure::Failure;

/// Longest value that is read: no node can be set to take a longer one.
const VALUE_BYTES_MAX: u64 = 64 << 20;

/// The value of a put.
#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Value {
    /// The value; `-` reads it from standard input, to the end
    value: Option<std::ffi::OsString>,
    /// Reads the value from a file
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Value {
    #[expect(clippy::disallowed_methods, reason = "a command has no engine")]
    pub(super) fn read(&self) -> Result<Vec<u8>, Failure> {
        let (name, read) = match (&self.value, &self.file) {
            (_, Some(path)) => (path.as_path(), File::open(path).and_then(read)),
            (Some(value), None) if value == "-" => {
                (Path::new("standard input"), read(std::io::stdin()))
            }
            (value, None) => {
                return Ok(value.as_deref().map_or(Vec::new(), |value| bytes(value).to_vec()));
            }
        };
        let fail = |reason: String| Failure::File(format!("{}: {reason}", name.display()));
        match read {
            Ok(value) if value.len() as u64 > VALUE_BYTES_MAX => {
                Err(fail(format!("it has more than {VALUE_BYTES_MAX} bytes")))
            }
            Ok(value) => Ok(value),
            Err(error) => Err(fail(error.to_string())),
        }
    }
}

fn read(from: impl Read) -> std::io::Result<Vec<u8>> {
    let mut value = Vec::new();
    from.take(VALUE_BYTES_MAX + 1).read_to_end(&mut value)?;
    Ok(value)
}

/// The bytes of an argument: on Unix, as they were given.
pub(super) fn bytes(argument: &OsStr) -> &[u8] {
    argument.as_encoded_bytes()
}

/// Prints a value: alone with `raw`, otherwise with a line's end behind it.
pub(super) fn print_value(
    out: &mut impl Write,
    value: Option<Bytes>,
    raw: bool,
) -> Result<(), Failure> {
    let value = value.ok_or(Failure::No("there is no such key"))?;
    out.write_all(&value)?;
    if !raw {
        out.write_all(b"\n")?;
    }
    Ok(())
}

pub(super) async fn print_entries(
    out: &mut impl Write,
    mut entries: ScanStream,
) -> Result<(), Failure> {
    while let Some(entry) = entries.next().await? {
        out.write_all(&[&entry.key[..], b"\t", &entry.value[..], b"\n"].concat())?;
    }
    Ok(())
}
