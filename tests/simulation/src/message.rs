//! What a simulated publication says: who sent it and which it is, so that every copy of it can be recognised and checked.
//!
//! ```text
//! offset  0     1..3    3..7   7      8..
//!         0xA7  client  seq    kind   fill, which client and seq determine
//! ```
//!
//! Everything else about a message follows from the same two numbers, so a resend is byte for byte what was sent before, and
//! the ledger need not keep it.

/// First byte.
const MAGIC: u8 = 0xa7;
/// Bytes in front of the fill.
pub const HEAD_BYTES: usize = 8;
/// Bit of the kind: Kafka refuses the record by name.
const POISON: u8 = 0x80;

/// Which message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId {
    /// Its publisher.
    pub client: u16,
    /// Its number there, from 0.
    pub seq: u32,
}

/// What follows from the number of a message, in the world of one seed.
#[derive(Debug, Clone, Copy)]
pub struct Message {
    /// Which one.
    pub id: MessageId,
    /// Quality of service, 0 to 2.
    pub qos: u8,
    /// Index into the plan's topics.
    pub topic: usize,
    /// Payload length.
    pub len: usize,
    /// Kafka refuses it.
    pub poison: bool,
}

/// How messages are drawn.
#[derive(Debug, Clone)]
pub struct Kinds {
    /// Changes everything.
    pub salt: u64,
    /// Number of topics.
    pub topics: usize,
    /// Weights of QoS 0, 1 and 2.
    pub qos_weights: [u8; 3],
    /// Longest ordinary payload.
    pub len_max: usize,
    /// Of a million: as long as `large_len`.
    pub large_per_million: u32,
    /// Length of those.
    pub large_len: usize,
    /// Of a million: refused by Kafka by name.
    pub poison_per_million: u32,
}

impl Kinds {
    /// The message with this number.
    #[inline]
    pub fn message(&self, id: MessageId) -> Message {
        let mut draw = mix(self.salt ^ u64::from(id.client) << 32 ^ u64::from(id.seq));
        let mut next = |n: u64| {
            let value = ((draw & 0xffff_ffff) * n) >> 32;
            draw = mix(draw);
            value
        };
        let [qos0, qos1, qos2] = self.qos_weights.map(u64::from);
        let weight = next(qos0 + qos1 + qos2);
        let qos = u8::from(weight >= qos0) + u8::from(weight >= qos0 + qos1);
        let topic = next(self.topics as u64) as usize;
        let large = next(1_000_000) < u64::from(self.large_per_million);
        let poison = next(1_000_000) < u64::from(self.poison_per_million);
        let len =
            if large { self.large_len } else { HEAD_BYTES + next((self.len_max - HEAD_BYTES + 1) as u64) as usize };
        Message { id, qos, topic, len, poison }
    }
}

impl Message {
    /// Writes its payload.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.push(MAGIC);
        out.extend(self.id.client.to_le_bytes());
        out.extend(self.id.seq.to_le_bytes());
        out.push(self.qos | if self.poison { POISON } else { 0 });
        let mut left = self.len - HEAD_BYTES;
        for ramp in ramps(self.id.fill()) {
            let n = left.min(ramp.len());
            out.extend_from_slice(&ramp[..n]);
            left -= n;
            if left == 0 {
                return;
            }
        }
    }
}

/// Length of a piece of the fill: after that it begins anew.
const RAMP_BYTES: usize = 256;

/// Every piece of every fill.
static RAMP: [u8; 2 * RAMP_BYTES] = {
    let mut ramp = [0; 2 * RAMP_BYTES];
    let mut at = 0;
    while at < ramp.len() {
        ramp[at] = at as u8;
        at += 1;
    }
    ramp
};

/// The fill that begins with this byte, piece by piece without end.
fn ramps(first: u8) -> impl Iterator<Item = &'static [u8]> {
    let first = usize::from(first);
    std::iter::repeat(&RAMP[first..first + RAMP_BYTES])
}

impl MessageId {
    fn fill(self) -> u8 {
        (u32::from(self.client).wrapping_mul(31) ^ self.seq.wrapping_mul(0x9e37_79b1) >> 24) as u8
    }

    /// Reads it from a payload, every byte of which is checked.
    ///
    /// # Errors
    /// What is wrong with the payload.
    pub fn read(payload: &[u8]) -> Result<Self, String> {
        let &[MAGIC, c0, c1, s0, s1, s2, s3, _, ref fill @ ..] = payload else {
            return Err(format!("no message of ours: {:02x?}", &payload[..payload.len().min(32)]));
        };
        let id = Self { client: u16::from_le_bytes([c0, c1]), seq: u32::from_le_bytes([s0, s1, s2, s3]) };
        for (n, (found, ramp)) in fill.chunks(RAMP_BYTES).zip(ramps(id.fill())).enumerate() {
            if *found != ramp[..found.len()] {
                let (at, (byte, wanted)) =
                    found.iter().zip(ramp).enumerate().find(|(_, (byte, wanted))| byte != wanted).expect("they differ");
                let at = n * RAMP_BYTES + at;
                return Err(format!("{id:?}: byte {at} of its fill is {byte:02x}, not {wanted:02x}"));
            }
        }
        Ok(id)
    }
}

/// Whether Kafka is to refuse a record with this value.
pub fn is_poison(value: &[u8]) -> bool {
    value.len() >= HEAD_BYTES && value[0] == MAGIC && value[7] & POISON != 0
}

fn mix(z: u64) -> u64 {
    let z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_says_which_message_it_is_and_no_byte_may_change() {
        let kinds = Kinds {
            salt: 7,
            topics: 3,
            qos_weights: [1, 2, 1],
            len_max: 40,
            large_per_million: 0,
            large_len: 0,
            poison_per_million: 500_000,
        };
        let (mut poisoned, mut by_qos) = (0, [0; 3]);
        for seq in 0..1_000 {
            let message = kinds.message(MessageId { client: 5, seq });
            let mut payload = Vec::new();
            message.put(&mut payload);
            assert_eq!(payload.len(), message.len);
            assert_eq!(MessageId::read(&payload), Ok(message.id));
            assert_eq!(is_poison(&payload), message.poison);
            for at in HEAD_BYTES..payload.len() {
                payload[at] ^= 1;
                assert!(MessageId::read(&payload).is_err());
                payload[at] ^= 1;
            }
            poisoned += u32::from(message.poison);
            by_qos[usize::from(message.qos)] += 1;
        }
        assert!((400..600).contains(&poisoned) && by_qos.iter().all(|&n| n > 150), "{poisoned}, {by_qos:?}");
    }
}
