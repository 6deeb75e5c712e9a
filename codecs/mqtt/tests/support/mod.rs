//! What the tests of this crate share.
#![allow(dead_code, reason = "each test file uses a part")]

use mqtt::connection::{Accepted, Limits, ServerConnection};
use mqtt::frame::{Split, split};
use mqtt::{Error, Frame, Packet, Version};

/// Bytes from pairs of hexadecimal digits; white space is free.
pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    hex.split_whitespace().map(|pair| u8::from_str_radix(pair, 16).expect(pair)).collect()
}

/// The one frame that `bytes` are.
pub(crate) fn frame_of(bytes: &[u8]) -> Frame<'_> {
    match split(bytes, u32::MAX).unwrap() {
        Split::Whole(frame) => {
            assert_eq!(frame.len, bytes.len(), "the length byte of the test's bytes is wrong: {bytes:02X?}");
            frame
        }
        Split::Need(need) => panic!("{need} bytes are needed, {} are there: {bytes:02X?}", bytes.len()),
    }
}

/// The one packet that `bytes` are.
pub(crate) fn decode_all(version: Version, bytes: &[u8]) -> Result<Packet<'_>, Error> {
    mqtt::decode(version, frame_of(bytes))
}

/// A packet from its first byte and body, with the length it needs.
pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mut len = body.len();
    while len > 127 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend_from_slice(body);
    out
}

/// A frame of a server connection, which is to be accepted or not.
pub(crate) fn handle<'a>(connection: &mut ServerConnection, bytes: &'a [u8]) -> Result<Packet<'a>, Error> {
    connection.handle_frame(frame_of(bytes))
}

/// A CONNECT of client `c` that asks for nothing special; in 5.0 with `properties` in hexadecimal.
pub(crate) fn connect(version: Version, properties: &str) -> Vec<u8> {
    let name: &[u8] = if version == Version::V3_1 { b"\0\x06MQIsdp" } else { b"\0\x04MQTT" };
    let mut body = name.to_vec();
    body.extend([version.level(), 0x02, 0, 60]);
    if version.is_v5() {
        let properties = bytes(properties);
        body.push(u8::try_from(properties.len()).unwrap());
        body.extend(properties);
    }
    body.extend([0, 1, b'c']);
    packet(0x10, &body)
}

/// A connection whose client was let in at time 0, with a keep alive of 60 s.
pub(crate) fn active_with(version: Version, limits: &Limits, properties: &str) -> ServerConnection {
    let mut connection = ServerConnection::new(0, limits);
    handle(&mut connection, &connect(version, properties)).unwrap();
    connection.accept(0, &Accepted::default(), &mut Vec::new());
    assert!(connection.is_active());
    connection
}

/// The same with the default limits.
pub(crate) fn active(version: Version) -> ServerConnection {
    active_with(version, &Limits::default(), "")
}

/// Small deterministic random numbers (xorshift64*).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn word(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.word() % n as u64) as usize
    }
}

/// Changes a packet the way that finds mistakes: bytes flipped, cut, doubled, set to telling values; the remaining length
/// is mended most of the time, so that the change reaches the fields.
pub(crate) fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    const TELLING: [u8; 12] = [0, 1, 2, 3, 0x7f, 0x80, 0xff, b'#', b'+', b'/', b'$', 0x26];
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len() + 1);
        match random.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = TELLING[random.below(TELLING.len())],
            2 => bytes.insert(at, TELLING[random.below(TELLING.len())]),
            3 if at < bytes.len() => drop(bytes.remove(at)),
            4 => bytes.truncate(at),
            5 => bytes.extend_from_within(at..),
            _ => {}
        }
    }
    if random.below(8) != 0 && bytes.len() >= 2 && bytes.len() < 100_000 {
        let header = 1 + bytes[1..].iter().take(3).take_while(|b| **b & 0x80 != 0).count() + 1;
        *bytes = packet(bytes[0], &bytes[header.min(bytes.len())..]);
    }
}

/// Packets of every type that a mutation can start from.
pub(crate) fn corpus(version: Version) -> Vec<Vec<u8>> {
    let v3 = [
        "10 1E 00 04 4D 51 54 54 04 EC 00 0A 00 02 61 62 00 01 77 00 04 67 6F 6E 65 00 01 75 00 02 00 FF",
        "10 0F 00 06 4D 51 49 73 64 70 03 02 00 3C 00 01 61",
        "20 02 01 00",
        "30 07 00 03 61 2F 62 68 69",
        "3D 0D 00 09 61 2F 62 2F 63 2F 64 2F 65 00 0A",
        "40 02 00 01",
        "50 02 00 01",
        "62 02 00 01",
        "70 02 00 01",
        "82 0C 00 0A 00 03 61 2F 23 01 00 01 2B 02",
        "90 06 00 0A 00 01 02 80",
        "A2 08 00 0A 00 01 61 00 01 23",
        "B0 02 00 0A",
        "C0 00",
        "D0 00",
        "E0 00",
    ];
    let v5 = [
        "10 60 00 04 4D 51 54 54 05 4E 00 0A 2B 11 00 00 0E 10 21 00 0A 27 00 00 10 00 22 00 05 19 01 17 00 \
         15 00 01 6D 16 00 02 01 02 26 00 01 6B 00 01 76 26 00 01 6B 00 01 77 00 01 63 1D 18 00 00 00 05 01 01 \
         02 00 00 00 3C 03 00 01 74 08 00 01 72 09 00 01 09 26 00 00 00 00 00 01 77 00 01 78 00 01 70",
        "20 3F 01 00 3C 11 00 00 00 07 21 00 64 24 01 27 00 01 00 00 22 00 10 13 00 3C 25 00 28 00 29 00 2A 00 \
         12 00 01 63 1F 00 01 72 1A 00 01 69 1C 00 01 73 15 00 01 6D 16 00 01 01 26 00 01 6B 00 01 76",
        "30 2D 00 00 29 01 01 02 00 00 00 3C 03 00 01 74 08 00 01 72 09 00 01 09 26 00 01 6B 00 01 76 \
         0B 05 0B 80 01 26 00 01 6B 00 01 77 23 00 07 68",
        "32 08 00 01 61 01 00 00 68 69",
        "32 0B 00 01 61 00 02 03 23 00 01 68 69",
        "40 0F 00 01 00 0B 1F 00 01 72 26 00 01 6B 00 01 76",
        "50 03 00 01 97",
        "62 03 00 01 92",
        "70 02 00 01",
        "82 11 00 01 0A 0B C8 01 26 00 01 6B 00 01 76 00 01 61 2D",
        "82 10 00 01 00 00 0A 24 73 68 61 72 65 2F 67 2F 61 01",
        "90 09 00 0A 04 1F 00 01 72 02 8F",
        "A2 0D 00 0A 07 26 00 01 6B 00 01 76 00 01 61",
        "B0 05 00 0A 00 00 11",
        "C0 00",
        "D0 00",
        "E0 0F 9D 0D 11 00 00 00 01 1F 00 01 72 1C 00 01 73",
        "E0 01 04",
        "F0 0A 18 08 15 00 01 6D 16 00 01 01",
    ];
    if version.is_v5() { v5.map(bytes).to_vec() } else { v3.map(bytes).to_vec() }
}
