//! Bytes nobody can guess, from the kernel.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::driver::StartError;

const SOURCE: &str = "/dev/urandom";

/// `N` random bytes.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], StartError> {
    let mut bytes = [0; N];
    let read = File::open(SOURCE).and_then(|mut source| source.read_exact(&mut bytes));
    read.map_err(|e| StartError::path("read", Path::new(SOURCE), &e))?;
    Ok(bytes)
}
