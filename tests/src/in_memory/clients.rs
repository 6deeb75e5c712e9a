//! MQTT clients: what each has to send, and what it was answered. Nothing is allocated once they are warm.

use aqueduct::shard::io::{ConnKey, Recv};

/// CONNACK and PUBACK of MQTT 3.1.1 have the same length.
const ANSWER_BYTES: usize = 4;

/// All clients, by the index of their connection.
#[derive(Debug)]
pub struct Clients {
    all: Vec<Client>,
    /// Longest read.
    pub recv_bytes_max: usize,
    /// Where reads went, if [`Clients::watch_reads`] was called: address and length of each.
    reads: Option<Vec<(usize, usize)>>,
}

impl Default for Clients {
    fn default() -> Self {
        Self { all: Vec::new(), recv_bytes_max: usize::MAX, reads: None }
    }
}

#[derive(Debug, Default)]
struct Client {
    outbox: Vec<u8>,
    given: usize,
    let_in: bool,
    acked: Vec<u16>,
}

impl Clients {
    pub(super) fn add(&mut self) -> ConnKey {
        self.all.push(Client::default());
        ConnKey { index: self.all.len() as u32 - 1, generation: 1 }
    }

    /// Gives the client bytes to send, behind those that were not read yet.
    pub fn give(&mut self, conn: ConnKey, bytes: Vec<u8>) {
        let client = self.of(conn);
        client.outbox.drain(..client.given);
        client.given = 0;
        client.outbox.extend(bytes);
    }

    /// Has the client send the same bytes again.
    ///
    /// # Panics
    /// If they were not all read.
    pub fn again(&mut self, conn: ConnKey) {
        let client = self.of(conn);
        assert_eq!(client.given, client.outbox.len(), "what was given before is read");
        client.given = 0;
    }

    /// Bytes of the client's that were not read.
    pub fn unread_bytes(&self, conn: ConnKey) -> usize {
        let client = &self.all[conn.index as usize];
        client.outbox.len() - client.given
    }

    /// The packet ids that were acknowledged to the client, in order, since [`Clients::forget_acks`].
    pub fn acked(&self, conn: ConnKey) -> &[u16] {
        &self.all[conn.index as usize].acked
    }

    /// How many acknowledgements all clients have got, since [`Clients::forget_acks`].
    pub fn acked_count(&self) -> usize {
        self.all.iter().map(|client| client.acked.len()).sum()
    }

    /// Counts acknowledgements anew.
    pub fn forget_acks(&mut self) {
        self.all.iter_mut().for_each(|client| client.acked.clear());
    }

    /// Notes where reads go from now on.
    pub fn watch_reads(&mut self) {
        self.reads = Some(Vec::new());
    }

    /// Address and length of each read since [`Clients::watch_reads`].
    pub fn reads(&self) -> &[(usize, usize)] {
        self.reads.as_deref().unwrap_or_default()
    }

    pub(super) fn is_let_in(&self, conn: ConnKey) -> bool {
        self.all[conn.index as usize].let_in
    }

    pub(super) fn recv(&mut self, conn: ConnKey, into: &mut [u8]) -> Recv {
        let max = self.recv_bytes_max;
        let client = self.of(conn);
        let rest = &client.outbox[client.given..];
        let n = rest.len().min(into.len()).min(max);
        if n == 0 {
            return Recv::Empty;
        }
        into[..n].copy_from_slice(&rest[..n]);
        let more = n < rest.len();
        client.given += n;
        if let Some(reads) = &mut self.reads {
            reads.push((into.as_ptr().addr(), n));
        }
        Recv::Got { n, more }
    }

    pub(super) fn send(&mut self, conn: ConnKey, bytes: &[u8]) -> usize {
        let client = self.of(conn);
        for answer in bytes.chunks(ANSWER_BYTES) {
            match answer {
                [0x20, 2, _, 0] => client.let_in = true,
                [0x40, 2, high, low] => client.acked.push(u16::from_be_bytes([*high, *low])),
                other => panic!("a CONNACK or PUBACK was due, not {other:02x?}"),
            }
        }
        bytes.len()
    }

    fn of(&mut self, conn: ConnKey) -> &mut Client {
        &mut self.all[conn.index as usize]
    }
}
