//! A blocking MQTT client, written by the letter of the standards and apart from our codec. It keeps no session, checks little, and
//! sends whatever it is told to, broken packets included.

mod packet;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::deadline;
pub use packet::{Connect, Packet, Properties, Publication, Version, publish_head};

/// How long [`Client::packet`] waits.
const PATIENCE: Duration = Duration::from_secs(15);

/// One connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    version: Version,
    received: Vec<u8>,
    last_id: u16,
}

impl Client {
    /// Connects and expects a CONNACK that accepts.
    ///
    /// # Panics
    /// If anything else comes.
    #[track_caller]
    pub fn connect(to: SocketAddr, version: Version, client_id: &str) -> Self {
        Self::connect_with(to, &Connect::new(version, client_id)).0
    }

    /// Connects with a CONNECT of your own; returns also the CONNACK, whatever it says.
    ///
    /// # Panics
    /// If anything but a CONNACK comes.
    #[track_caller]
    pub fn connect_with(to: SocketAddr, connect: &Connect<'_>) -> (Self, Packet) {
        let mut client = Self::open(to, connect.version);
        client.send(&connect.encode());
        let answer = client.packet();
        let Packet::ConnAck { code, .. } = &answer else { panic!("a CONNACK was due, not {answer:?}") };
        assert!(*code == 0 || connect.refusal_expected, "refused with {code:#04x}");
        (client, answer)
    }

    /// A connection on which nothing has been said.
    ///
    /// # Panics
    /// If nobody listens.
    #[track_caller]
    pub fn open(to: SocketAddr, version: Version) -> Self {
        deadline::doing("connecting to the node");
        let stream = TcpStream::connect(to).expect("the listener takes connections");
        stream.set_nodelay(true).expect("a TCP option");
        Self { stream, version, received: Vec::new(), last_id: 0 }
    }

    /// Sends bytes as they are.
    ///
    /// # Panics
    /// If the connection is gone.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("the connection stands");
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        deadline::doing("sending to the node");
        self.stream.write_all(bytes)
    }

    /// A packet identifier that was not used before (until all have been).
    pub fn next_id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }

    /// Publishes without waiting for an answer; returns the packet identifier, 0 at QoS 0.
    ///
    /// # Panics
    /// If the connection is gone.
    #[track_caller]
    pub fn publish(&mut self, topic: &str, payload: &[u8], qos: u8) -> u16 {
        self.try_publish(topic, payload, qos).expect("the connection stands")
    }

    /// Publishes as [`publish`](Self::publish) does; `None` if the connection is gone.
    pub fn try_publish(&mut self, topic: &str, payload: &[u8], qos: u8) -> Option<u16> {
        let id = if qos == 0 { 0 } else { self.next_id() };
        let publication = Publication { topic, payload, qos, id, ..Default::default() };
        self.try_send(&publication.encode(self.version)).ok().map(|()| id)
    }

    /// Publishes and waits for all of its acknowledgements.
    ///
    /// # Panics
    /// If anything else comes, or a failure.
    #[track_caller]
    pub fn publish_acked(&mut self, topic: &str, payload: &[u8], qos: u8) {
        let id = self.publish(topic, payload, qos);
        match qos {
            0 => {}
            1 => self.expect(&Packet::PubAck { id, reason: 0 }),
            _ => {
                self.expect(&Packet::PubRec { id, reason: 0 });
                self.release(id);
                self.expect(&Packet::PubComp { id, reason: 0 });
            }
        }
    }

    /// Publishes all of them at once and waits for all acknowledgements. No more of them than the server's receive maximum.
    ///
    /// # Panics
    /// If anything else comes, or a failure.
    #[track_caller]
    pub fn publish_all_acked<'p>(&mut self, topic: &str, payloads: impl IntoIterator<Item = &'p [u8]>, qos: u8) {
        let sent = payloads.into_iter().map(|payload| self.publish(topic, payload, qos)).filter(|&id| id > 0).count();
        let mut open = sent;
        while open > 0 {
            match self.packet() {
                Packet::PubAck { reason: 0, .. } | Packet::PubComp { reason: 0, .. } => open -= 1,
                Packet::PubRec { id, reason: 0 } => self.release(id),
                other => panic!("no acknowledgement of a PUBLISH: {other:?}"),
            }
        }
    }

    /// Subscribes to one filter and returns the code of the SUBACK.
    ///
    /// # Panics
    /// If anything but the SUBACK comes.
    #[track_caller]
    pub fn subscribe(&mut self, filter: &str, qos: u8) -> u8 {
        let id = self.next_id();
        self.send(&packet::subscribe(self.version, id, filter, qos));
        match self.packet() {
            Packet::SubAck { id: answered, codes } if answered == id && codes.len() == 1 => codes[0],
            other => panic!("a SUBACK for {id} was due, not {other:?}"),
        }
    }

    /// Sends PINGREQ.
    ///
    /// # Panics
    /// If the connection is gone.
    #[track_caller]
    pub fn ping(&mut self) {
        self.send(&[0xC0, 0]);
    }

    /// Answers a delivery: PUBACK at QoS 1, PUBREC at QoS 2.
    ///
    /// # Panics
    /// If the connection is gone.
    #[track_caller]
    pub fn acknowledge(&mut self, qos: u8, id: u16) {
        match qos {
            0 => {}
            1 => self.send(&packet::puback(id)),
            _ => self.send(&packet::pubrec(id)),
        }
    }

    /// Answers a PUBREC.
    ///
    /// # Panics
    /// If the connection is gone.
    #[track_caller]
    pub fn release(&mut self, id: u16) {
        self.send(&packet::pubrel(id));
    }

    /// Answers a PUBREL.
    ///
    /// # Panics
    /// If the connection is gone.
    #[track_caller]
    pub fn complete(&mut self, id: u16) {
        self.send(&packet::pubcomp(id));
    }

    /// The socket, for those who count bytes themselves. What was received and not taken is gone.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Says goodbye.
    ///
    /// # Panics
    /// If the connection is gone.
    #[track_caller]
    pub fn disconnect(mut self) {
        self.send(&[0xE0, 0]);
    }

    /// The next packet.
    ///
    /// # Panics
    /// If none comes in time, the server closes, or the bytes are no packet.
    #[track_caller]
    pub fn packet(&mut self) -> Packet {
        match self.packet_within(PATIENCE) {
            Some(packet) => packet,
            None => panic!("no packet within {PATIENCE:?}"),
        }
    }

    /// The next packet; `None` if none comes in time, [`Packet::Closed`] if the server closes.
    ///
    /// # Panics
    /// If the bytes are no packet.
    #[track_caller]
    pub fn packet_within(&mut self, patience: Duration) -> Option<Packet> {
        deadline::doing("waiting for a packet");
        let end = Instant::now() + patience;
        loop {
            if let Some((packet, len)) = packet::decode(self.version, &self.received) {
                self.received.drain(..len);
                return Some(packet);
            }
            let left = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            self.stream.set_read_timeout(Some(left)).expect("a TCP option");
            let mut more = [0; 65_536];
            match self.stream.read(&mut more) {
                Ok(0) => return Some(Packet::Closed),
                Ok(n) => self.received.extend_from_slice(&more[..n]),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return None;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Some(Packet::Closed),
            }
        }
    }

    /// Expects this packet next.
    ///
    /// # Panics
    /// If another comes, or none.
    #[track_caller]
    pub fn expect(&mut self, packet: &Packet) {
        assert_eq!(&self.packet(), packet);
    }

    /// Expects that the server closes, without a packet before.
    ///
    /// # Panics
    /// If a packet comes, or nothing happens.
    #[track_caller]
    pub fn expect_close(&mut self) {
        self.expect(&Packet::Closed);
    }

    /// Expects silence.
    ///
    /// # Panics
    /// If a packet comes, or the server closes.
    #[track_caller]
    pub fn expect_silence(&mut self, during: Duration) {
        if let Some(packet) = self.packet_within(during) {
            panic!("silence was due, not {packet:?}");
        }
    }
}
