//! Publications that subscribers of this shard wait for, each kept once however many wait.
//!
//! A plain count instead of shared pointers: whoever waits says when it is done, and is told how many bytes became free, so
//! that the budget stays exact.

use crate::publication::Publication;

/// Names a publication on the shelf as long as somebody waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShelfKey(u32);

/// The publications of one shard.
#[derive(Debug, Default)]
pub struct Shelf {
    slots: Vec<Option<Kept>>,
    free: Vec<u32>,
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    // Boxed: it arrives in a box, and an empty slot is small.
    publication: Box<Publication>,
    waiting: u32,
}

impl Shelf {
    /// Puts a publication up; the caller is the first who waits for it.
    pub fn put(&mut self, publication: Box<Publication>) -> ShelfKey {
        self.bytes += publication.bytes();
        let kept = Some(Kept { publication, waiting: 1 });
        match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = kept;
                ShelfKey(slot)
            }
            None => {
                self.slots.push(kept);
                ShelfKey(self.slots.len() as u32 - 1)
            }
        }
    }

    /// One more waits for it.
    pub fn wait(&mut self, key: ShelfKey) {
        let kept = self.slots[key.0 as usize].as_mut().expect("a key names what somebody waits for");
        kept.waiting += 1;
    }

    /// The publication.
    pub fn get(&self, key: ShelfKey) -> &Publication {
        let kept = self.slots[key.0 as usize].as_ref().expect("a key names what somebody waits for");
        &kept.publication
    }

    /// One waits no longer; returns the bytes that became free, 0 while others wait.
    #[must_use]
    pub fn done(&mut self, key: ShelfKey) -> usize {
        let slot = &mut self.slots[key.0 as usize];
        let kept = slot.as_mut().expect("a key names what somebody waits for");
        kept.waiting -= 1;
        if kept.waiting > 0 {
            return 0;
        }
        let bytes = kept.publication.bytes();
        *slot = None;
        self.free.push(key.0);
        self.bytes -= bytes;
        bytes
    }

    /// Bytes of all publications.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Mono;
    use mqtt::{Publish, PublishProperties, QoS};

    #[test]
    fn a_publication_goes_when_the_last_is_done_with_it() {
        let publish = Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: "t",
            packet_id: 0,
            properties: PublishProperties::default(),
            payload: &[1; 100],
        };
        let publication = Box::new(Publication::new("t", &publish, Mono::default()).unwrap());
        let bytes = publication.bytes();
        let mut shelf = Shelf::default();
        let key = shelf.put(publication);
        shelf.wait(key);
        assert_eq!((shelf.done(key), shelf.bytes()), (0, bytes));
        assert_eq!(shelf.get(key).topic(), "t");
        assert_eq!((shelf.done(key), shelf.bytes()), (bytes, 0));
    }
}
