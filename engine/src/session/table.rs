//! All sessions of a shard, by slot (what runs of batches name) and by client id (what CONNECT names).

use super::Session;
use crate::hash::{Keyed, Map};

/// The sessions whose home is this shard.
#[derive(Debug)]
pub struct SessionTable {
    // Boxed: an empty slot costs a pointer, and the table grows without moving sessions.
    slots: Vec<Option<Box<Session>>>,
    free: Vec<u32>,
    by_client: Map<Box<str>, u32>,
    generation: u32,
}

impl SessionTable {
    /// An empty table whose map hashes under `keyed`.
    pub fn new(keyed: Keyed) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), by_client: Map::with_hasher(keyed), generation: 0 }
    }

    /// The session in `slot`.
    #[inline]
    pub fn get(&self, slot: u32) -> Option<&Session> {
        self.slots.get(slot as usize)?.as_deref()
    }

    /// The session in `slot`, to change it.
    #[inline]
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut Session> {
        self.slots.get_mut(slot as usize)?.as_deref_mut()
    }

    /// The slot of a client's session.
    pub fn find(&self, client_id: &str) -> Option<u32> {
        self.by_client.get(client_id).copied()
    }

    /// A new session for a client that has none; its slot.
    pub fn create(&mut self, client_id: &str) -> u32 {
        let session = Box::new(Session::new(client_id, self.next_generation(), self.next_generation()));
        let slot = self.free.pop().unwrap_or(self.slots.len() as u32);
        match self.slots.get_mut(slot as usize) {
            Some(empty) => *empty = Some(session),
            None => self.slots.push(Some(session)),
        }
        let before = self.by_client.insert(client_id.into(), slot);
        assert!(before.is_none(), "a client has one session");
        slot
    }

    /// Ends a session. Its slot may be used again; runs that still name it carry an old generation.
    pub fn remove(&mut self, slot: u32) -> Option<Box<Session>> {
        let session = self.slots.get_mut(slot as usize)?.take()?;
        self.by_client.remove(&session.client_id);
        self.free.push(slot);
        Some(session)
    }

    /// A generation that no lane of this table has had (within 2^32).
    pub fn next_generation(&mut self) -> u32 {
        self.generation = self.generation.wrapping_add(1);
        self.generation
    }

    /// Sessions held.
    pub fn len(&self) -> usize {
        self.by_client.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_client.is_empty()
    }

    /// All sessions with their slots, in slot order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Session)> {
        self.slots.iter().enumerate().filter_map(|(slot, s)| Some((slot as u32, s.as_deref()?)))
    }

    /// All sessions with their slots, in slot order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut Session)> {
        self.slots.iter_mut().enumerate().filter_map(|(slot, s)| Some((slot as u32, s.as_deref_mut()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_slot_does_not_hear_outcomes_of_its_former_session() {
        let mut table = SessionTable::new(Keyed::new(1, 2));
        let slot = table.create("a");
        let old = table.get(slot).map(|s| s.puback.generation());
        assert!(table.remove(slot).is_some());
        assert_eq!(table.find("a"), None);
        assert_eq!(table.create("b"), slot);
        assert_ne!(table.get(slot).map(|s| s.puback.generation()), old);
        assert_eq!(table.find("b"), Some(slot));
    }
}
