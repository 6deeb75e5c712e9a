//! QoS 2 on the receiving side: one record per PUBLISH until its PUBREL, whatever is resent [MQTT-4.3.3-9..12].

/// What a session knows of one inbound packet identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// The PUBLISH waits for its outcome; a resend attaches to it. Holds the ticket's number in the PUBREC lane.
    Pending(u32),
    /// PUBREC has been sent; a resend is answered at once.
    Stored,
}

/// Open QoS 2 identifiers of one session, sorted; `qos2_max` (100) bounds them, so a sorted vector beats a map.
#[derive(Debug, Default)]
pub struct ReceivedIds {
    open: Vec<(u16, Received)>,
}

impl ReceivedIds {
    /// What is known of `packet_id`.
    pub fn get(&self, packet_id: u16) -> Option<Received> {
        let at = self.find(packet_id).ok()?;
        self.open.get(at).map(|&(_, state)| state)
    }

    /// Sets what is known of `packet_id`.
    pub fn set(&mut self, packet_id: u16, state: Received) {
        match self.find(packet_id) {
            Ok(at) => self.open[at].1 = state,
            Err(at) => self.open.insert(at, (packet_id, state)),
        }
    }

    /// Forgets `packet_id`; whether it was known.
    pub fn remove(&mut self, packet_id: u16) -> bool {
        let found = self.find(packet_id);
        if let Ok(at) = found {
            self.open.remove(at);
        }
        found.is_ok()
    }

    /// Open identifiers.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    fn find(&self, packet_id: u16) -> Result<usize, usize> {
        self.open.binary_search_by_key(&packet_id, |&(id, _)| id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_known_from_publish_to_pubrel() {
        let mut ids = ReceivedIds::default();
        ids.set(9, Received::Pending(1));
        ids.set(3, Received::Pending(2));
        ids.set(9, Received::Stored);
        assert_eq!((ids.get(3), ids.get(9), ids.get(4)), (Some(Received::Pending(2)), Some(Received::Stored), None));
        assert!(ids.remove(9));
        assert!(!ids.remove(9));
        assert_eq!(ids.len(), 1);
    }
}
