//! The truth of a run, kept by the process that sends: what was sent and what was acknowledged.
//!
//! A message is logged as sent before its bytes reach the socket, and as acknowledged after its PUBACK was read. So at
//! whatever instant the measured process is killed, `acknowledged` here is what it promised and `sent` here is all that
//! could be in Kafka. Entries reach the kernel at once, by one `write` each; the file survives the writer.
//!
//! ```text
//! file   | magic 'AQTRUTH1' | payload_bytes: u32 | entry... |
//! entry  | 'S' or 'A' | client: u32 | first sequence: u32 | count: u32 |       all numbers big-endian
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use miette::{IntoDiagnostic, Result, WrapErr, bail};

const MAGIC: &[u8; 8] = b"AQTRUTH1";
const ENTRY_BYTES: usize = 13;

/// The log while it is written.
pub struct TruthLog {
    file: File,
}

impl TruthLog {
    /// Starts an empty log.
    pub fn create(path: &Path, payload_bytes: usize) -> Result<Self> {
        let mut file = File::create(path).into_diagnostic().wrap_err_with(|| path.display().to_string())?;
        file.write_all(MAGIC).into_diagnostic()?;
        file.write_all(&(payload_bytes as u32).to_be_bytes()).into_diagnostic()?;
        Ok(Self { file })
    }

    /// `count` messages of `client` from `first` on are about to be written to its socket.
    pub fn sent(&mut self, client: u32, first: u32, count: u32) -> Result<()> {
        self.entry(b'S', client, first, count)
    }

    /// `count` messages of `client` from `first` on have their PUBACK.
    pub fn acked(&mut self, client: u32, first: u32, count: u32) -> Result<()> {
        self.entry(b'A', client, first, count)
    }

    /// Makes the log durable.
    pub fn flush(&mut self) -> Result<()> {
        self.file.sync_data().into_diagnostic()
    }

    fn entry(&mut self, kind: u8, client: u32, first: u32, count: u32) -> Result<()> {
        let mut entry = [0; ENTRY_BYTES];
        entry[0] = kind;
        entry[1..5].copy_from_slice(&client.to_be_bytes());
        entry[5..9].copy_from_slice(&first.to_be_bytes());
        entry[9..].copy_from_slice(&count.to_be_bytes());
        self.file.write_all(&entry).into_diagnostic().wrap_err("writing the truth log")
    }
}

/// What one client sent and was told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientTruth {
    /// Messages `0..sent` were sent, or about to be.
    pub sent: u32,
    /// By sequence: acknowledged.
    pub acked: Vec<bool>,
}

/// The log as a verifier reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Truth {
    /// Payload size of every message.
    pub payload_bytes: usize,
    /// By client index.
    pub clients: BTreeMap<u32, ClientTruth>,
}

impl Truth {
    /// Reads a log; an entry torn at its end is left out, anything else that is wrong is an error.
    pub fn read(path: &Path) -> Result<Self> {
        let mut bytes = Vec::new();
        let mut file = File::open(path).into_diagnostic().wrap_err_with(|| path.display().to_string())?;
        file.read_to_end(&mut bytes).into_diagnostic()?;
        Self::parse(&bytes).wrap_err_with(|| path.display().to_string())
    }

    /// Every one of `clients` clients from `first_client` on sent `per_client(i)` messages, all acknowledged.
    pub fn complete(payload_bytes: usize, sent: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let clients = sent
            .into_iter()
            .map(|(client, sent)| (client, ClientTruth { sent, acked: vec![true; sent as usize] }))
            .collect();
        Self { payload_bytes, clients }
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        let number = |at: usize| -> Option<u32> {
            bytes.get(at..at + 4).and_then(|four| four.first_chunk()).map(|four| u32::from_be_bytes(*four))
        };
        if !bytes.starts_with(MAGIC) {
            bail!("not a truth log");
        }
        let Some(payload_bytes) = number(MAGIC.len()) else { bail!("the truth log ends in its head") };
        let mut truth = Self { payload_bytes: payload_bytes as usize, clients: BTreeMap::new() };
        for at in (MAGIC.len() + 4..).step_by(ENTRY_BYTES) {
            let (Some(client), Some(first), Some(count)) = (number(at + 1), number(at + 5), number(at + 9)) else {
                break;
            };
            let entry = truth.clients.entry(client).or_default();
            match bytes[at] {
                b'S' if first == entry.sent => entry.sent += count,
                b'A' if first + count <= entry.sent => {
                    entry.acked.resize((entry.sent as usize).max(entry.acked.len()), false);
                    entry.acked[first as usize..(first + count) as usize].fill(true);
                }
                _ => bail!("the truth log contradicts itself at byte {at}"),
            }
        }
        for client in truth.clients.values_mut() {
            client.acked.resize(client.sent as usize, false);
        }
        Ok(truth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_after(name: &str, write: impl Fn(&mut TruthLog), cut: usize) -> Result<Truth> {
        let path = std::env::temp_dir().join(format!("aqueduct-truth-{}-{name}", std::process::id()));
        write(&mut TruthLog::create(&path, 256).unwrap());
        let mut bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        bytes.truncate(bytes.len() - cut);
        Truth::parse(&bytes)
    }

    #[test]
    fn the_log_reads_back_what_was_sent_and_acknowledged() {
        let write = |log: &mut TruthLog| {
            log.sent(7, 0, 3).unwrap();
            log.acked(7, 0, 2).unwrap();
            log.sent(7, 3, 1).unwrap();
            log.acked(7, 3, 1).unwrap();
        };
        let whole = parse_after("whole", write, 0).unwrap();
        assert_eq!(whole.clients[&7], ClientTruth { sent: 4, acked: vec![true, true, false, true] });
        let torn = parse_after("torn", write, 5).unwrap();
        assert_eq!(torn.clients[&7], ClientTruth { sent: 4, acked: vec![true, true, false, false] });
    }

    #[test]
    fn an_ack_before_its_send_is_refused() {
        assert!(parse_after("early", |log| log.acked(1, 0, 1).unwrap(), 0).is_err());
    }
}
