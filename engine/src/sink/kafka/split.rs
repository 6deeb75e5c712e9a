//! Batches that Kafka did not take as a whole: cut into ranges of records that are sent one after the other, until those
//! at fault are alone.
//!
//! The batch itself stays here with its tickets. Records that fail are written into [`Batch::refused`]; when every record
//! has its outcome, the batch goes home with that of the others.

use crate::buffer::Batch;
use crate::sink::Answered;
use crate::ticket::{FailReason, Outcome, Refused};

#[derive(Debug)]
struct Split {
    batch: Box<Batch>,
    /// Records without an outcome.
    open: u32,
    /// Offset of the first record that was stored.
    base_offset: Option<i64>,
}

/// All batches that are being split.
#[derive(Debug, Default)]
pub(super) struct Splits {
    slots: Vec<Option<Split>>,
}

impl Splits {
    /// Keeps `batch` while its ranges are on their way. Returns the number of the split.
    pub(super) fn begin(&mut self, batch: Box<Batch>) -> u32 {
        let split = Some(Split { open: batch.records, batch, base_offset: None });
        match self.slots.iter().position(Option::is_none) {
            Some(at) => {
                self.slots[at] = split;
                at as u32
            }
            None => {
                self.slots.push(split);
                (self.slots.len() - 1) as u32
            }
        }
    }

    /// The batch that is being split.
    pub(super) fn batch(&self, split: u32) -> &Batch {
        let slot = self.slots.get(split as usize).and_then(Option::as_ref);
        &slot.expect("a piece belongs to a split that is open").batch
    }

    /// All batches that are being split.
    pub(super) fn batches(&self) -> impl Iterator<Item = &Batch> {
        self.slots.iter().flatten().map(|split| &*split.batch)
    }

    /// `n` records from `first` on have their outcome. The last ones bring the batch back.
    pub(super) fn end(&mut self, split: u32, first: u32, n: u32, outcome: Outcome) -> Option<Answered> {
        let slot = self.slots.get_mut(split as usize)?;
        let state = slot.as_mut()?;
        match outcome {
            Outcome::Stored { base_offset } => {
                state.base_offset.get_or_insert(base_offset);
            }
            Outcome::Failed(why) => state.batch.refused.push(Refused { first, n, why }),
        }
        state.open -= n;
        if state.open > 0 {
            return None;
        }
        let Split { mut batch, base_offset, .. } = slot.take()?;
        let outcome = match (base_offset, common_reason(&batch)) {
            (None, Some(why)) => {
                batch.refused.clear();
                Outcome::Failed(why)
            }
            (base_offset, _) => Outcome::Stored { base_offset: base_offset.unwrap_or(-1) },
        };
        Some(Answered { batch, outcome })
    }
}

/// Why all records failed, if it is one reason.
fn common_reason(batch: &Batch) -> Option<FailReason> {
    let first = batch.refused.first()?.why;
    batch.refused.iter().all(|refused| refused.why == first).then_some(first)
}
