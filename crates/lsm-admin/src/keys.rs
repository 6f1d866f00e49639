//! Keys and values by hand: any bytes, as far as a terminal can say them.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use lsm_client::ScanStream;

use crate::escape::{escape, unescape};
use crate::failure::Failure;

/// Longest value that is read: no node can be set to take a longer one.
pub(crate) const VALUE_BYTES_MAX: u64 = 64 << 20;

/// How keys and values are written on the command line.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Escapes {
    /// Keys and values are written as `scan` prints them: \n, \r, \t, \\ and \xHH stand for
    /// bytes. Without, they are taken as they are
    #[arg(long)]
    pub(crate) escaped: bool,
}

impl Escapes {
    /// The bytes of an argument.
    pub(crate) fn bytes(self, argument: &OsStr) -> Result<Vec<u8>, Failure> {
        // On Unix, as they were given.
        let bytes = argument.as_encoded_bytes();
        if !self.escaped {
            return Ok(bytes.to_vec());
        }
        let read = unescape(bytes);
        read.map_err(|reason| Failure::Input(format!("{}: {reason}", argument.display())))
    }
}

/// The value of a put.
#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Value {
    /// The value; `-` reads it from standard input, to the end and as it is
    value: Option<OsString>,
    /// Reads the value from a file, as it is
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Value {
    #[expect(clippy::disallowed_methods, reason = "a command has no engine")]
    pub(crate) fn read(&self, escapes: Escapes) -> Result<Vec<u8>, Failure> {
        let (name, read) = match (&self.value, &self.file) {
            (_, Some(path)) => (path.as_path(), File::open(path).and_then(read)),
            (Some(value), None) if value == "-" => {
                (Path::new("standard input"), read(std::io::stdin()))
            }
            (value, None) => return escapes.bytes(value.as_deref().unwrap_or_default()),
        };
        let fail = |reason: String| Failure::Input(format!("{}: {reason}", name.display()));
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

/// How a value is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Nothing before or behind it.
    Raw,
    /// A line's end behind it.
    Plain,
    /// As `scan` prints it, and a line's end behind it.
    Escaped,
}

/// Prints the value of a key.
pub(crate) fn print_value(
    out: &mut impl Write,
    value: Option<Bytes>,
    form: Form,
) -> Result<(), Failure> {
    let value = value.ok_or(Failure::No("there is no such key"))?;
    match form {
        Form::Raw => out.write_all(&value)?,
        Form::Plain => out.write_all(&[&value[..], b"\n"].concat())?,
        Form::Escaped => writeln!(out, "{}", escape(&value))?,
    }
    Ok(())
}

/// Prints so many entries, or all, one a line. Returns whether there are more.
pub(crate) async fn print_entries(
    out: &mut impl Write,
    mut entries: ScanStream,
    limit: Option<u64>,
) -> Result<bool, Failure> {
    let mut out = BufWriter::new(out);
    let mut left = limit;
    let ended = loop {
        let entry = match entries.next().await {
            Ok(Some(_)) if left == Some(0) => break Ok(true),
            Ok(Some(entry)) => entry,
            Ok(None) => break Ok(false),
            Err(error) => break Err(error.into()),
        };
        left = left.map(|left| left - 1);
        writeln!(out, "{}\t{}", escape(&entry.key), escape(&entry.value))?;
    };
    // Also of a scan that broke: what came is true.
    out.flush()?;
    ended
}
