//! Files of certificates and keys. What is in them, others say.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Longest file of certificates or a key, in bytes: a chain has a few thousand.
const PEM_BYTES_MAX: u64 = 1 << 20;

/// Reads a file that should hold PEM.
///
/// # Errors
///
/// The operating system's, or that the file is too long to be one.
#[expect(clippy::disallowed_methods, reason = "settings are read before there is an engine")]
pub fn read_pem(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read =
        File::open(path).and_then(|file| file.take(PEM_BYTES_MAX + 1).read_to_end(&mut bytes));
    match read {
        Ok(read) if read as u64 > PEM_BYTES_MAX => {
            Err(format!("it has more than {PEM_BYTES_MAX} bytes; that is no certificate or key"))
        }
        Ok(_) => Ok(bytes),
        Err(error) => Err(error.to_string()),
    }
}
