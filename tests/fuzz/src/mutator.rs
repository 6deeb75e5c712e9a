//! Changes inputs the way that finds mistakes: not only bits, but fields with the lengths in front of them, whole pieces, telling
//! numbers and words; lengths and checksums are mended most of the time, so that a change reaches what lies behind them.

use std::ops::Range;

use crate::random::Random;
use crate::target::Target;

/// Bytes that mean something somewhere.
const BYTES: [u8; 16] = [0, 1, 2, 3, 4, 5, 0x10, 0x20, 0x7f, 0x80, 0x82, 0xff, b'#', b'+', b'/', b'$'];
/// Numbers at the edges of what fields can say.
const NUMBERS: [i64; 14] =
    [0, 1, 2, -1, -2, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 1 << 20, i32::MAX as i64, i64::MAX, i64::MIN];
/// Widths of fields, in bytes.
const WIDTHS: [usize; 4] = [1, 2, 4, 8];

/// Makes the next input of a target.
#[derive(Debug)]
pub struct Mutator<'t> {
    target: &'t Target,
    random: Random,
    pieces: Vec<Range<usize>>,
    piece: Vec<u8>,
}

impl<'t> Mutator<'t> {
    /// A mutator for `target`, whose every decision follows from `seed`.
    pub fn new(target: &'t Target, seed: u64) -> Self {
        Self { target, random: Random::new(seed), pieces: Vec::new(), piece: Vec::new() }
    }

    /// Writes a mutation of one of `pool`, which holds at least one, into `out`.
    pub fn mutate(&mut self, pool: &[Vec<u8>], out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&pool[self.random.below(pool.len())]);
        let other = &pool[self.random.below(pool.len())];
        for _ in 0..=self.random.below(3) {
            self.pieces.clear();
            let prefix = self.target.shape.prefix.min(out.len());
            (self.target.shape.cut)(&out[prefix..], &mut self.pieces);
            if self.random.one_in(8) {
                self.move_pieces(prefix, other, out);
            } else {
                self.change_piece(prefix, other, out);
            }
        }
        out.truncate(self.target.bytes_max);
    }

    /// Drops, doubles, swaps or borrows a whole piece.
    fn move_pieces(&mut self, prefix: usize, other: &[u8], out: &mut Vec<u8>) {
        let random = &mut self.random;
        let Some(at) = (!self.pieces.is_empty()).then(|| random.below(self.pieces.len())) else { return };
        let piece = self.pieces[at].start + prefix..self.pieces[at].end + prefix;
        match random.below(4) {
            0 => drop(out.drain(piece)),
            1 => {
                self.piece.clear();
                self.piece.extend_from_slice(&out[piece.clone()]);
                out.splice(piece.end..piece.end, self.piece.iter().copied());
            }
            2 => out[piece.start..].rotate_left(piece.len()),
            _ => {
                self.pieces.clear();
                let skip = self.target.shape.prefix.min(other.len());
                (self.target.shape.cut)(&other[skip..], &mut self.pieces);
                let Some(theirs) = (!self.pieces.is_empty()).then(|| &self.pieces[random.below(self.pieces.len())])
                else {
                    return;
                };
                out.splice(piece.start..piece.start, other[theirs.start + skip..theirs.end + skip].iter().copied());
            }
        }
    }

    /// Changes the bytes of one piece, and mends it most of the time.
    fn change_piece(&mut self, prefix: usize, other: &[u8], out: &mut Vec<u8>) {
        if prefix > 0 && self.random.one_in(8) {
            out[self.random.below(prefix)] = self.random.word() as u8;
            return;
        }
        let piece = match self.random.below(self.pieces.len()) {
            at if at < self.pieces.len() => self.pieces[at].start + prefix..self.pieces[at].end + prefix,
            _ => prefix..prefix,
        };
        let mut bytes = std::mem::take(&mut self.piece);
        bytes.clear();
        bytes.extend_from_slice(&out[piece.clone()]);
        for _ in 0..=self.random.below(3) {
            self.change(other, &mut bytes);
        }
        if !self.random.one_in(8) {
            (self.target.shape.mend)(&mut bytes);
        }
        if piece.len() == bytes.len() {
            out[piece].copy_from_slice(&bytes);
        } else {
            out.splice(piece, bytes.iter().copied());
        }
        self.piece = bytes;
    }

    /// One change.
    fn change(&mut self, other: &[u8], bytes: &mut Vec<u8>) {
        let random = &mut self.random;
        let at = random.below(bytes.len() + 1);
        let inside = at < bytes.len();
        match random.below(13) {
            0 | 1 if inside => bytes[at] ^= 1 << random.below(8),
            2 if inside => bytes[at] = random.choice(&BYTES),
            3 if inside => bytes[at] = random.word() as u8,
            4 => {
                let byte = random.choice(&BYTES);
                bytes.splice(at..at, std::iter::repeat_n(byte, 1 + random.below(4)));
            }
            5 if inside => drop(bytes.drain(at..(at + 1 + random.below(8)).min(bytes.len()))),
            6 if random.one_in(4) => bytes.truncate(at),
            7 if inside => {
                let until = (at + 1 + random.below(32)).min(bytes.len());
                bytes.extend_from_within(at..until);
            }
            8 => put_number(random, at, bytes),
            9 => add_to_number(random, at, bytes),
            10 if !self.target.words.is_empty() => {
                let word = random.choice(self.target.words);
                let until = if random.one_in(2) { at } else { (at + word.len()).min(bytes.len()) };
                bytes.splice(at..until, word.iter().copied());
            }
            11 if !other.is_empty() => {
                let from = random.below(other.len());
                let until = (from + 1 + random.below(24)).min(other.len());
                bytes.splice(at..at, other[from..until].iter().copied());
            }
            12 => resize_field(random, at, bytes),
            _ => {}
        }
    }
}

/// Writes a telling number, in one of the widths fields have, big-endian.
fn put_number(random: &mut Random, at: usize, bytes: &mut [u8]) {
    let width = random.choice(&WIDTHS);
    let number = if random.one_in(4) { bytes.len() as i64 } else { random.choice(&NUMBERS) };
    if let Some(field) = bytes.get_mut(at..at + width) {
        field.copy_from_slice(&number.to_be_bytes()[8 - width..]);
    }
}

/// Adds a little to the number that stands there.
fn add_to_number(random: &mut Random, at: usize, bytes: &mut [u8]) {
    let width = random.choice(&WIDTHS);
    let by = random.below(33) as i64 - 16;
    add(bytes, at, width, by);
}

fn add(bytes: &mut [u8], at: usize, width: usize, by: i64) {
    let Some(field) = bytes.get_mut(at..at + width) else { return };
    let mut whole = [0; 8];
    whole[8 - width..].copy_from_slice(field);
    let sum = i64::from_be_bytes(whole).wrapping_add(by);
    field.copy_from_slice(&sum.to_be_bytes()[8 - width..]);
}

/// Makes a field longer or shorter and tells the lengths in front that seem to cover it: up to two, as one lies in another.
fn resize_field(random: &mut Random, at: usize, bytes: &mut Vec<u8>) {
    let grow = random.one_in(2);
    let n = (1 + random.below(6)).min(if grow { usize::MAX } else { bytes.len() - at });
    let mut told = 0;
    // A length field lies close in front of what it covers, the nearest first.
    for start in (at.saturating_sub(64)..at).rev() {
        for width in [2, 1, 4] {
            let Some(field) = bytes.get(start..start + width).filter(|_| start + width <= at && told < 2) else {
                continue;
            };
            let length = field.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            let end = start + width + length;
            let covers = at + if grow { 0 } else { n };
            if length > 0 && covers <= end && end <= bytes.len() {
                add(bytes, start, width, if grow { n as i64 } else { -(n as i64) });
                told += 1;
                break;
            }
        }
    }
    if grow {
        let byte = random.choice(&BYTES);
        bytes.splice(at..at, std::iter::repeat_n(byte, n));
    } else {
        bytes.drain(at..at + n);
    }
}
