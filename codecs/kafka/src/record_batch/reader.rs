//! Records out of a batch, borrowed from it.

use super::{Header, RawHeaders, RecordHeader};
use crate::Error;
use crate::compression::{self, Compression};
use crate::primitive::ReadKafka;
use wire::Reader;

/// One record of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Its offset minus the batch's base offset.
    pub offset_delta: i32,
    /// Its timestamp minus the batch's base timestamp, in ms; without meaning under log append time.
    pub timestamp_delta_ms: i64,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; null is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers.
    pub headers: Headers<'a>,
}

/// The records of an uncompressed batch. `batch` starts with its header and may go on after the batch. The checksum is
/// not looked at: [`Header::check_crc`] does that, once, where the bytes arrive.
pub fn records(batch: &[u8]) -> Result<Records<'_>, Error> {
    let header = Header::parse(batch)?;
    match header.compression()? {
        Compression::None => Ok(Records::new(header.records, header.body(batch)?)),
        _ => Err(Error::Malformed("record batch: compressed where it must not be")),
    }
}

/// The records of a batch that may be compressed; then they are decompressed into `scratch`, which is cleared first and
/// never grows beyond `bytes_max`.
pub fn decompressed_records<'a>(
    batch: &'a [u8],
    scratch: &'a mut Vec<u8>,
    bytes_max: usize,
) -> Result<Records<'a>, Error> {
    let header = Header::parse(batch)?;
    let body = header.body(batch)?;
    match header.compression()? {
        Compression::None => Ok(Records::new(header.records, body)),
        codec => {
            scratch.clear();
            compression::decompress(codec, body, scratch, bytes_max)?;
            Ok(Records::new(header.records, scratch))
        }
    }
}

/// Iterates records; ends after the first error. Bytes left after the last record are an error too.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    left: u32,
    rest: Reader<'a>,
}

impl<'a> Records<'a> {
    /// `count` records in `bytes`, as they are behind the header of an uncompressed batch.
    pub fn new(count: u32, bytes: &'a [u8]) -> Self {
        Self { left: count, rest: Reader::new(bytes) }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            let tail = std::mem::replace(&mut self.rest, Reader::new(&[]));
            return (!tail.is_empty()).then_some(Err(Error::Malformed("record batch: bytes after the last record")));
        }
        let record = read_record(&mut self.rest);
        match record {
            Ok(_) => self.left -= 1,
            Err(_) => *self = Self::new(0, &[]),
        }
        Some(record)
    }
}

fn read_record<'a>(batch: &mut Reader<'a>) -> Result<Record<'a>, Error> {
    let r = &mut Reader::new(frame_record(batch)?);
    r.u8()?; // attributes: none are defined
    let record = Record {
        timestamp_delta_ms: r.varlong()?,
        offset_delta: r.varint()?,
        key: nullable(r)?,
        value: nullable(r)?,
        headers: Headers::check(r)?,
    };
    if r.is_empty() { Ok(record) } else { Err(Error::Malformed("record: bytes after its headers")) }
}

/// The bytes of the next record, after their length.
pub(super) fn frame_record<'a>(batch: &mut Reader<'a>) -> Result<&'a [u8], Error> {
    let len = usize::try_from(batch.varint()?).map_err(|_| Error::Malformed("record: negative length"))?;
    Ok(batch.take(len)?)
}

fn nullable<'a>(r: &mut Reader<'a>) -> Result<Option<&'a [u8]>, Error> {
    match r.varint()? {
        -1 => Ok(None),
        len => {
            let len = usize::try_from(len).map_err(|_| Error::Malformed("record: negative length of a field"))?;
            Ok(Some(r.take(len)?))
        }
    }
}

/// The headers of one record, in their order; checked when the record was read.
#[derive(Debug, Clone, Copy)]
pub struct Headers<'a> {
    left: u32,
    rest: Reader<'a>,
}

impl<'a> Headers<'a> {
    /// Walks the headers at the end of a record once, so that iterating them later cannot fail.
    fn check(r: &mut Reader<'a>) -> Result<Self, Error> {
        let count = u32::try_from(r.varint()?).map_err(|_| Error::Malformed("record: negative header count"))?;
        let mut all = *r;
        for _ in 0..count {
            read_header(r)?;
        }
        Ok(Self { left: count, rest: Reader::new(all.take(all.remaining() - r.remaining())?) })
    }

    /// Those that are left, as they stand in the record.
    pub fn raw(self) -> RawHeaders<'a> {
        RawHeaders { count: self.left, bytes: self.rest.rest() }
    }

    /// How many there are (left).
    pub fn count_left(&self) -> u32 {
        self.left
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = RecordHeader<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        read_header(&mut self.rest).ok()
    }
}

fn read_header<'a>(r: &mut Reader<'a>) -> Result<RecordHeader<'a>, Error> {
    let key = nullable(r)?.ok_or(Error::Malformed("record: header without a key"))?;
    Ok(RecordHeader { key, value: nullable(r)? })
}
