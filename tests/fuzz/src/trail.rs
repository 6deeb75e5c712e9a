//! What an execution has met: a poor man's coverage on a toolchain that does not instrument.
//!
//! Targets [`mark`] the features of what they see: the type of a packet, the clause that was broken, the order of magnitude of a
//! count. An input that marks what none before it has marked is worth mutating further. libFuzzer sees every branch and needs
//! none of this; there the marks are lost.

use std::cell::RefCell;

const BITS: usize = 1 << 16;

struct Trail {
    seen: Box<[u64; BITS / 64]>,
    fresh: bool,
}

thread_local! {
    static TRAIL: RefCell<Trail> = RefCell::new(Trail { seen: Box::new([0; BITS / 64]), fresh: false });
}

/// Forgets everything this thread has met.
pub fn forget() {
    TRAIL.with_borrow_mut(|trail| {
        trail.seen.fill(0);
        trail.fresh = false;
    });
}

/// Whether something new was marked since the last question.
pub fn take_fresh() -> bool {
    TRAIL.with_borrow_mut(|trail| std::mem::take(&mut trail.fresh))
}

/// Marks a feature of `family`. Two that fall on the same of 65,536 bits are taken for one.
#[inline]
pub fn mark(family: u64, feature: u64) {
    let hash = (family << 48 ^ feature).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
    TRAIL.with_borrow_mut(|trail| {
        let word = &mut trail.seen[hash as usize / 64];
        let bit = 1 << (hash % 64);
        trail.fresh |= *word & bit == 0;
        *word |= bit;
    });
}

/// Marks a text, such as a clause, up to its first digit or quoted name: those are the input's own, and would make each look new.
#[inline]
pub fn mark_text(family: u64, text: &str) {
    let own = |byte: &u8| !matches!(byte, b'0'..=b'9' | b'`' | b'"' | b'\'');
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = text.bytes().take_while(own).fold(0xcbf2_9ce4_8422_2325, step);
    mark(family, hash & 0xffff_ffff_ffff);
}

/// Marks a count by its order of magnitude.
#[inline]
pub fn mark_size(family: u64, size: usize) {
    mark(family, u64::from(usize::BITS - size.leading_zeros()));
}
