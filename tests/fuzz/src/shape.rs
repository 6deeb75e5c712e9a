//! What an input is made of, so that a mutation gets past the first length field: where it may be cut, and how a piece is mended
//! after it was changed.

use std::ops::Range;

/// The structure of a target's inputs.
#[derive(Debug)]
pub struct Shape {
    /// Bytes in front that choose a variant; a piece of their own.
    pub prefix: usize,
    /// Cuts what follows the prefix, appending the pieces, which cover all of it.
    pub cut: fn(&[u8], &mut Vec<Range<usize>>),
    /// Sets the lengths and checksums of a piece right.
    pub mend: fn(&mut Vec<u8>),
}

/// Bytes without a structure that we know of.
pub const PLAIN: Shape = Shape { prefix: 0, cut: whole, mend: |_| {} };
/// As [`PLAIN`], behind two bytes that choose.
pub const PLAIN_BEHIND_2: Shape = Shape { prefix: 2, ..PLAIN };
/// MQTT control packets.
pub const PACKETS: Shape = Shape { prefix: 0, cut: cut_packets, mend: mend_packet };
/// MQTT control packets behind two bytes that choose.
pub const PACKETS_BEHIND_2: Shape = Shape { prefix: 2, ..PACKETS };
/// Kafka record batches.
pub const BATCHES: Shape = Shape { prefix: 0, cut: cut_batches, mend: |batch| mend_batch(batch) };
/// Entries of a buffer on disk.
pub const ENTRIES: Shape = Shape { prefix: 0, cut: cut_entries, mend: |entry| mend_entry(entry) };
/// The footer of a segment of a buffer on disk, or its positions.
pub const INDEX: Shape = Shape { prefix: 0, cut: whole, mend: |index| mend_index(index) };
/// Kafka's frames: a length, then so many bytes.
pub const FRAMES: Shape = Shape { prefix: 0, cut: cut_frames, mend: |frame| mend_frame(frame) };
/// As [`FRAMES`], behind a byte that chooses.
pub const FRAMES_BEHIND_1: Shape = Shape { prefix: 1, ..FRAMES };
/// Lines of text.
pub const LINES: Shape = Shape { prefix: 0, cut: cut_lines, mend: |_| {} };
/// As [`LINES`], behind a byte that chooses.
pub const LINES_BEHIND_1: Shape = Shape { prefix: 1, ..LINES };

fn whole(bytes: &[u8], pieces: &mut Vec<Range<usize>>) {
    pieces.push(0..bytes.len());
}

/// Cuts pieces whose length, at most all of the rest, `len` tells.
fn cut_by(bytes: &[u8], pieces: &mut Vec<Range<usize>>, len: impl Fn(&[u8]) -> Option<usize>) {
    let mut at = 0;
    while at < bytes.len() {
        let rest = bytes.len() - at;
        let next = len(&bytes[at..]).filter(|len| (1..=rest).contains(len)).unwrap_or(rest);
        pieces.push(at..at + next);
        at += next;
    }
}

fn cut_packets(bytes: &[u8], pieces: &mut Vec<Range<usize>>) {
    cut_by(bytes, pieces, |rest| {
        let header = packet_header(rest);
        let length =
            rest.get(1..header)?.iter().rev().fold(0_usize, |length, byte| length << 7 | usize::from(byte & 0x7f));
        Some(header + length)
    });
}

/// Bytes of the two headers: type, then a length that ends with the first byte below 128.
fn packet_header(packet: &[u8]) -> usize {
    2 + packet.iter().skip(1).take(3).take_while(|byte| **byte & 0x80 != 0).count()
}

fn mend_packet(packet: &mut Vec<u8>) {
    if packet.len() < 2 {
        return;
    }
    let header = packet_header(packet).min(packet.len());
    let mut length = packet.len() - header;
    let mut digits = [0_u8; 4];
    let mut n = 0;
    loop {
        let more = length > 0x7f && n < 3;
        digits[n] = (length & 0x7f) as u8 | u8::from(more) << 7;
        length >>= 7;
        n += 1;
        if !more {
            break;
        }
    }
    packet.splice(1..header, digits[..n].iter().copied());
}

fn cut_batches(bytes: &[u8], pieces: &mut Vec<Range<usize>>) {
    cut_by(bytes, pieces, |rest| {
        let length = rest.get(8..12)?.first_chunk().map(|length| i32::from_be_bytes(*length))?;
        usize::try_from(length).ok()?.checked_add(12)
    });
}

fn mend_batch(batch: &mut [u8]) {
    if batch.len() < 61 {
        return;
    }
    let length = (batch.len() - 12) as i32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

fn cut_entries(bytes: &[u8], pieces: &mut Vec<Range<usize>>) {
    cut_by(bytes, pieces, |rest| {
        let length = rest.get(8..12)?.first_chunk().map(|length| u32::from_be_bytes(*length))?;
        usize::try_from(length).ok().filter(|&length| length >= 12)
    });
}

fn mend_entry(entry: &mut [u8]) {
    if entry.len() < 61 {
        return;
    }
    let length = entry.len() as u32;
    entry[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc32fast::hash(&entry[8..]);
    entry[4..8].copy_from_slice(&crc.to_be_bytes());
}

fn mend_index(index: &mut [u8]) {
    let len = index.len();
    if len >= 24 && &index[len - 24..len - 20] == b"AQJF" {
        let items = (len - 24) / 24;
        index[len - 16..len - 12].copy_from_slice(&(items as u32).to_be_bytes());
        index[len - 12..len - 8].copy_from_slice(&((len - 24 - 24 * items) as u32).to_be_bytes());
        let list = &index[len - 24 - 24 * items..len - 24];
        let crc = crc32fast::hash(&[list, &index[len - 16..len - 8]].concat());
        index[len - 20..len - 16].copy_from_slice(&crc.to_be_bytes());
    } else if index.starts_with(b"AQJP") && len >= 8 {
        let crc = crc32fast::hash(&index[8..]);
        index[4..8].copy_from_slice(&crc.to_be_bytes());
    }
}

fn cut_frames(bytes: &[u8], pieces: &mut Vec<Range<usize>>) {
    cut_by(bytes, pieces, |rest| {
        let length = rest.first_chunk().map(|length| i32::from_be_bytes(*length))?;
        usize::try_from(length).ok()?.checked_add(4)
    });
}

fn mend_frame(frame: &mut [u8]) {
    if let Some(length) = frame.len().checked_sub(4) {
        frame[..4].copy_from_slice(&(length as i32).to_be_bytes());
    }
}

fn cut_lines(bytes: &[u8], pieces: &mut Vec<Range<usize>>) {
    cut_by(bytes, pieces, |rest| rest.iter().position(|byte| *byte == b'\n').map(|at| at + 1));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(shape: &Shape, bytes: &[u8], expected: &[Range<usize>]) {
        let mut pieces = Vec::new();
        (shape.cut)(bytes, &mut pieces);
        assert_eq!(pieces, expected);
    }

    #[test]
    fn pieces_cover_everything() {
        check(&PACKETS, &[0xc0, 0, 0x30, 2, 9, 9, 0x30, 0x81], &[0..2, 2..6, 6..8]);
        check(&LINES, b"a\n\nb", &[0..2, 2..3, 3..4]);
        check(&FRAMES, &[0, 0, 0, 1, 7, 0, 0], &[0..5, 5..7]);
        check(&LINES, b"ab\nc\n", &[0..3, 3..5]);
    }

    #[test]
    fn a_mended_packet_has_its_length() {
        for body in [0, 1, 127, 128, 300, 20_000] {
            let mut packet = vec![0x30, 0x05];
            packet.resize(2 + body, 1);
            mend_packet(&mut packet);
            let mut pieces = Vec::new();
            cut_packets(&packet, &mut pieces);
            assert!(pieces.len() == 1 && pieces[0] == (0..packet.len()), "{body}: {pieces:?}");
        }
    }
}
