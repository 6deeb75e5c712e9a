//! Reading one entry back into a batch that can be sent.

use super::entry::Envelope;
use super::footer::read_exact;
use super::op::{ReadBack, Wanted};
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
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or(0);
            return ReadBack::Failed(DiskError { during: "read", errno, text: error.to_string() });
        }
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
