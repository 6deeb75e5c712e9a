//! Shows what the writer holds; for tests and the simulator.

use super::{Cargo, Produce, Shipment};
use crate::buffer::Batch;

impl Produce {
    /// Shows every charged batch it holds; not those that the driver has, and not carriers, which are nobody's charge.
    pub(in crate::sink) fn each_batch(&self, show: &mut impl FnMut(&Batch)) {
        let partitions = self.topics.iter().flat_map(|topic| &topic.partitions);
        for shipment in partitions.flat_map(|partition| partition.shipments()) {
            shown(shipment, show);
        }
        self.splits.batches().for_each(&mut *show);
        self.answered.iter().for_each(|answered| show(&answered.batch));
    }
}

fn shown(shipment: &Shipment, show: &mut impl FnMut(&Batch)) {
    match &shipment.cargo {
        Cargo::Batch => shipment.batch.as_deref().into_iter().for_each(show),
        Cargo::Merged(sources) => sources.iter().for_each(|source| show(source)),
        // The batch it was cut from is with the splits.
        Cargo::Piece { .. } => {}
    }
}
