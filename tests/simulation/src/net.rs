//! Client sockets as both sides see them: two streams of bytes, and the ways in which they end.

/// Who holds the client's end of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Holder {
    /// The client has forgotten it.
    #[default]
    Nobody,
    /// A client of the plan.
    Client(usize),
    /// A script.
    Script,
}

/// One TCP connection.
#[derive(Debug, Default)]
pub(crate) struct Socket {
    /// Bytes on their way to the shard, from `read_at` on.
    pub(crate) to_shard: Vec<u8>,
    read_at: usize,
    /// Bytes on their way to the client.
    pub(crate) to_client: Vec<u8>,
    /// Whose it is.
    pub(crate) holder: Holder,
    /// The client finished sending.
    pub(crate) finished: bool,
    /// The client reset it.
    pub(crate) reset: bool,
    /// The shard closed it.
    pub(crate) closed: bool,
    /// When, nanoseconds.
    pub(crate) closed_at: u64,
    /// The shard was refused some bytes, and waits for `Writable`.
    pub(crate) blocked: bool,
    /// The client does not read: no more than this fits.
    pub(crate) room: Option<usize>,
    /// `Readable` is on its way to the shard.
    pub(crate) told: bool,
    /// Shard and slot where it is known; changes when it moves.
    pub(crate) place: Option<(usize, u32)>,
}

impl Socket {
    /// The client of the plan whose it is.
    #[inline]
    pub(crate) fn client(&self) -> Option<usize> {
        if let Holder::Client(client) = self.holder { Some(client) } else { None }
    }

    /// Bytes the shard has not read.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.to_shard[self.read_at..]
    }

    /// Takes up to `n` of them.
    pub(crate) fn read(&mut self, n: usize, into: &mut [u8]) -> usize {
        let n = n.min(into.len()).min(self.to_shard.len() - self.read_at);
        into[..n].copy_from_slice(&self.to_shard[self.read_at..self.read_at + n]);
        self.read_at += n;
        if self.read_at == self.to_shard.len() {
            self.to_shard.clear();
            self.read_at = 0;
        }
        n
    }

    /// Whether anybody still needs it.
    pub(crate) fn is_over(&self) -> bool {
        self.closed && self.holder == Holder::Nobody
    }
}

/// All sockets of the world.
#[derive(Debug, Default)]
pub(crate) struct Net {
    sockets: Vec<Socket>,
    free: Vec<usize>,
}

impl Net {
    /// A new connection.
    pub(crate) fn open(&mut self, holder: Holder) -> usize {
        let socket = Socket { holder, ..Socket::default() };
        match self.free.pop() {
            Some(at) => {
                self.sockets[at] = socket;
                at
            }
            None => {
                self.sockets.push(socket);
                self.sockets.len() - 1
            }
        }
    }

    /// The socket with this number.
    #[inline]
    pub(crate) fn get(&mut self, at: usize) -> &mut Socket {
        &mut self.sockets[at]
    }

    /// Lets go of it, if nobody needs it.
    pub(crate) fn tidy(&mut self, at: usize) {
        if self.sockets[at].is_over() {
            self.sockets[at] = Socket::default();
            self.free.push(at);
        }
    }
}
