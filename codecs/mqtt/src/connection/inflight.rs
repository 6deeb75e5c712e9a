//! What is on its way: how many publications a client has open with us, and which packet ids we have open with it.

use crate::{Error, ReasonCode};

/// Counts the publications with QoS > 0 that a client has sent and we have not acknowledged to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Inbound {
    open: u32,
}

impl Inbound {
    /// One more has arrived. `maximum` is what was announced; `None` where the version has no way to announce it.
    ///
    /// # Errors
    /// With Receive Maximum exceeded (0x93).
    #[inline]
    pub fn arrived(&mut self, maximum: Option<u16>) -> Result<(), Error> {
        // [MQTT-3.3.4-7]
        if maximum.is_some_and(|maximum| self.open >= u32::from(maximum)) {
            return Err(Error::limit(
                ReasonCode::ReceiveMaximumExceeded,
                "MQTT-3.3.4-7",
                "more publications are open than the receive maximum allows",
            ));
        }
        self.open = self.open.saturating_add(1);
        Ok(())
    }

    /// `n` of them were acknowledged: a PUBACK, a PUBCOMP or a PUBREC with a failure has been written.
    #[inline]
    pub fn done(&mut self, n: u32) {
        debug_assert!(n <= self.open, "acknowledged <= arrived");
        self.open = self.open.saturating_sub(n);
    }

    /// How many are open.
    #[inline]
    pub const fn open(&self) -> u32 {
        self.open
    }
}

/// The packet ids of what we have sent and wait to see acknowledged.
///
/// One bit per id, in as many words as the highest id needed so far; the lowest free id is taken, so a window of `n`
/// costs `n / 8` bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PacketIds {
    /// Bit `i` of word `w` stands for the id `64 w + i + 1`; the bit of id 65,536 does not exist and is never set.
    words: Vec<u64>,
    /// No word below this one has a free bit.
    full: usize,
    open: u16,
}

const WORDS_MAX: usize = 1024;

impl PacketIds {
    /// No id taken.
    pub const fn new() -> Self {
        Self { words: Vec::new(), full: 0, open: 0 }
    }

    /// Takes the lowest free id, which is not 0. `None` if all 65,535 are open.
    pub fn allocate(&mut self) -> Option<u16> {
        // [MQTT-2.2.1-4]
        while self.words.get(self.full) == Some(&u64::MAX) {
            self.full = self.full.saturating_add(1);
        }
        let free = self.words.get(self.full).map_or(0, |word| word.trailing_ones());
        let id = u16::try_from(self.full.saturating_mul(64).saturating_add(free as usize).saturating_add(1)).ok()?;
        self.take(id).then_some(id)
    }

    /// Takes this id, as a resumed session does. False if it is 0 or taken.
    pub fn take(&mut self, id: u16) -> bool {
        let Some((word, bit)) = place(id) else { return false };
        if self.words.len() <= word {
            self.words.resize(word.saturating_add(1).min(WORDS_MAX), 0);
        }
        match self.words.get_mut(word) {
            Some(bits) if *bits & bit == 0 => {
                *bits |= bit;
                self.open = self.open.saturating_add(1);
                true
            }
            _ => false,
        }
    }

    /// Gives an id back. False if it was not taken, which means that the peer acknowledged what we did not send.
    pub fn release(&mut self, id: u16) -> bool {
        let Some((word, bit)) = place(id) else { return false };
        match self.words.get_mut(word) {
            Some(bits) if *bits & bit != 0 => {
                *bits &= !bit;
                self.full = self.full.min(word);
                self.open = self.open.saturating_sub(1);
                true
            }
            _ => false,
        }
    }

    /// Whether the id is taken.
    pub fn contains(&self, id: u16) -> bool {
        place(id).is_some_and(|(word, bit)| self.words.get(word).is_some_and(|bits| bits & bit != 0))
    }

    /// How many are taken; compared with the client's receive maximum before a publication with QoS > 0 is sent.
    pub const fn open(&self) -> u16 {
        self.open
    }
}

fn place(id: u16) -> Option<(usize, u64)> {
    let index = id.checked_sub(1)?;
    Some((usize::from(index >> 6), 1 << (index & 63)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_id_is_taken_and_every_id_once() {
        // [MQTT-2.2.1-4]
        let mut ids = PacketIds::new();
        for expected in 1..=u16::MAX {
            assert_eq!(ids.allocate(), Some(expected));
        }
        assert_eq!(ids.allocate(), None, "65,535 are open");
        assert_eq!(ids.open(), u16::MAX);
        assert!(ids.release(40_000) && ids.release(7));
        assert!(!ids.release(7), "given back twice");
        assert_eq!((ids.allocate(), ids.allocate(), ids.allocate()), (Some(7), Some(40_000), None));
    }

    #[test]
    fn a_resumed_session_takes_the_ids_it_had() {
        let mut ids = PacketIds::new();
        assert!(ids.take(2) && ids.take(u16::MAX));
        assert!(!ids.take(2) && !ids.take(0));
        assert_eq!((ids.allocate(), ids.allocate()), (Some(1), Some(3)));
        assert!(ids.contains(2) && !ids.contains(4) && !ids.contains(0));
        assert_eq!(ids.open(), 4);
    }

    #[test]
    fn the_receive_maximum_counts_what_is_open() {
        // [MQTT-3.3.4-7]
        let mut inbound = Inbound::default();
        assert!(inbound.arrived(Some(2)).is_ok() && inbound.arrived(Some(2)).is_ok());
        assert_eq!(inbound.arrived(Some(2)).unwrap_err().reason, ReasonCode::ReceiveMaximumExceeded);
        inbound.done(1);
        assert!(inbound.arrived(Some(2)).is_ok());
        assert!(inbound.arrived(None).is_ok(), "3.1.1 has no receive maximum");
        assert_eq!(inbound.open(), 3);
    }
}
