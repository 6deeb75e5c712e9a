//! The headers of a record in their wire form. They are written once, where they are made, and copied as they are from then
//! on: into the batch, into a merged one, into a piece of one that was split.

use super::RecordHeader;
use crate::primitive::{WriteKafka, zigzag};
use wire::Writer;

/// Headers behind each other as a record has them, without their count; borrowed from a [`HeaderBlock`] or a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawHeaders<'a> {
    pub(super) count: u32,
    pub(super) bytes: &'a [u8],
}

impl RawHeaders<'_> {
    /// No headers.
    pub const NONE: RawHeaders<'static> = RawHeaders { count: 0, bytes: &[] };

    /// Bytes of all of them.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// A buffer in which headers are written; kept for its capacity.
#[derive(Debug, Clone, Default)]
pub struct HeaderBlock {
    count: u32,
    bytes: Vec<u8>,
}

impl HeaderBlock {
    /// Forgets what was written.
    pub fn clear(&mut self) {
        self.count = 0;
        self.bytes.clear();
    }

    /// Appends a header. The order is kept, and names may repeat.
    pub fn push(&mut self, header: RecordHeader<'_>) {
        self.count += 1;
        put_field(&mut self.bytes, Some(header.key));
        put_field(&mut self.bytes, header.value);
    }

    /// Appends the headers of a record that was read.
    pub fn extend(&mut self, headers: RawHeaders<'_>) {
        self.count += headers.count;
        self.bytes.put_bytes(headers.bytes);
    }

    /// What was written.
    #[inline]
    pub fn raw(&self) -> RawHeaders<'_> {
        RawHeaders { count: self.count, bytes: &self.bytes }
    }
}

impl<'a> FromIterator<RecordHeader<'a>> for HeaderBlock {
    fn from_iter<I: IntoIterator<Item = RecordHeader<'a>>>(headers: I) -> Self {
        let mut block = Self::default();
        headers.into_iter().for_each(|header| block.push(header));
        block
    }
}

fn put_field(out: &mut Vec<u8>, field: Option<&[u8]>) {
    out.put_uvarint(super::writer::length(field));
    out.put_bytes(field.unwrap_or_default());
}

/// The count as it stands in front of them.
pub(super) fn count_on_wire(count: u32) -> u32 {
    zigzag(count as i32)
}
