//! Reading entries back: into a batch that can be sent, or as they are, to be copied.

use super::entry::Envelope;
use super::footer::read_exact;
use super::op::{Copied, ReadBack, Wanted};
use super::rescue::is_broken;
use crate::buffer::{Batch, PartKey};
use crate::clock::Mono;
use crate::log::DiskError;
use crate::log::scan::ReadAt;
use crate::shard::ShardId;

/// Reads the entry `wanted` of a segment whose journal has this mark, for a partition of the shard `home`'s sink.
/// Damaged bytes are shown to `set_aside`.
pub fn read_back<R: ReadAt + ?Sized>(
    source: &R,
    mark: u32,
    home: ShardId,
    part: PartKey,
    wanted: &mut Wanted,
    set_aside: impl FnOnce(&[u8]),
) -> ReadBack {
    let mut bytes = std::mem::take(&mut wanted.room);
    bytes.resize(wanted.bytes as usize, 0);
    match read_exact(source, u64::from(wanted.at), &mut bytes) {
        Ok(true) => {}
        Ok(false) => return ReadBack::Damaged,
        Err(error) => return ReadBack::Failed(failed(&error)),
    }
    let envelope = Envelope::parse(&bytes, mark)
        .filter(|e| e.number == wanted.number && e.partition == part.partition && e.is_whole(&bytes));
    let named = envelope.and_then(|envelope| Some((envelope, envelope.topic(&bytes)?.to_string())));
    let Some((envelope, topic_name)) = named else {
        set_aside(&bytes);
        return ReadBack::Damaged;
    };
    bytes.truncate(bytes.len() - topic_name.len());
    let batch = Batch {
        bytes,
        runs: Vec::new(),
        records: envelope.records,
        refused: Vec::new(),
        too_large: false,
        packed: envelope.packed,
        part,
        slot: part.partition,
        live: 0,
        topic_name,
        topic: 0,
        epoch: 0,
        home,
        charge_bytes: 0,
        base_timestamp_ms: envelope.base_timestamp_ms,
        max_timestamp_ms: envelope.max_timestamp_ms,
        opened: Mono::default(),
        queued_bytes: envelope.plain_bytes as usize,
        told_when_durable: false,
        journal: 0,
    };
    ReadBack::Whole(Box::new(batch), envelope.written_ms)
}

/// The bytes of entries of a segment whose journal has this mark, in their order; `None` of those that are not what was written,
/// or that the disk does not give any more.
///
/// # Errors
/// If the disk fails in a way that says nothing about them.
pub fn copy_entries<R: ReadAt + ?Sized>(
    source: &R,
    mark: u32,
    entries: &[Copied],
) -> Result<Vec<Option<Vec<u8>>>, DiskError> {
    entries.iter().map(|entry| copy_entry(source, mark, entry)).collect()
}

fn copy_entry<R: ReadAt + ?Sized>(source: &R, mark: u32, entry: &Copied) -> Result<Option<Vec<u8>>, DiskError> {
    let mut bytes = vec![0; entry.bytes as usize];
    match read_exact(source, u64::from(entry.at), &mut bytes) {
        Ok(true) => {}
        Ok(false) => return Ok(None),
        Err(error) if is_broken(&error) => return Ok(None),
        Err(error) => return Err(failed(&error)),
    }
    let is_it = |envelope: &Envelope| envelope.number == entry.number && envelope.is_whole(&bytes);
    let is_whole = Envelope::parse(&bytes, mark).is_some_and(|envelope| is_it(&envelope));
    Ok(is_whole.then_some(bytes))
}

fn failed(error: &std::io::Error) -> DiskError {
    DiskError { during: "read", errno: error.raw_os_error().unwrap_or(0), text: error.to_string() }
}
