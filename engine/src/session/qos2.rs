//! QoS 2 on the receiving side: one record per PUBLISH until its PUBREL, whatever is resent [MQTT-4.3.3-9..12].

/// What a session knows of one inbound packet identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// The PUBLISH waits for its outcome; a resend attaches to it. Holds the ticket's number in the PUBREC lane.
    Pending(u32),
    /// PUBREC has been sent; a resend is answered at once.
    Stored,
}

/// Open QoS 2 identifiers of one session, sorted; few at a time, so a sorted vector beats a map.
///
/// They outlive connections. A client that came back learns of an identifier's outcome once it has named it again: told
/// before, it could give the identifier to a new message while its resend of the old one is still on its way to us, and
/// that message would be taken for the resend.
#[derive(Debug, Default)]
pub struct ReceivedIds {
    open: Vec<Open>,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    packet_id: u16,
    state: Received,
    /// The present connection has brought its PUBLISH, and counts it in the receive maximum.
    is_here: bool,
}

impl ReceivedIds {
    /// What is known of `packet_id`.
    pub fn get(&self, packet_id: u16) -> Option<Received> {
        let at = self.find(packet_id).ok()?;
        self.open.get(at).map(|open| open.state)
    }

    /// Sets what is known of `packet_id`; a new one came on the present connection.
    pub fn set(&mut self, packet_id: u16, state: Received) {
        match self.find(packet_id) {
            Ok(at) => self.open[at].state = state,
            Err(at) => self.open.insert(at, Open { packet_id, state, is_here: true }),
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

    /// Whether the present connection has brought the PUBLISH of `packet_id`.
    pub fn is_here(&self, packet_id: u16) -> bool {
        self.find(packet_id).is_ok_and(|at| self.open[at].is_here)
    }

    /// The present connection brings the PUBLISH of `packet_id` again; whether it had not before.
    pub fn attach(&mut self, packet_id: u16) -> bool {
        self.find(packet_id).is_ok_and(|at| !std::mem::replace(&mut self.open[at].is_here, true))
    }

    /// Another connection begins.
    pub fn detach(&mut self) {
        self.open.iter_mut().for_each(|open| open.is_here = false);
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
        self.open.binary_search_by_key(&packet_id, |open| open.packet_id)
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
