//! What the tests of this crate share.
#![allow(dead_code, reason = "each test file uses a part")]

use mqtt::frame::{Split, split};
use mqtt::{Error, Frame, Packet, Version};

/// Bytes from pairs of hexadecimal digits; white space is free.
pub fn bytes(hex: &str) -> Vec<u8> {
    hex.split_whitespace().map(|pair| u8::from_str_radix(pair, 16).expect(pair)).collect()
}

/// The one frame that `bytes` are.
pub fn frame_of(bytes: &[u8]) -> Frame<'_> {
    match split(bytes, u32::MAX).unwrap() {
        Split::Whole(frame) => {
            assert_eq!(frame.len, bytes.len(), "the length byte of the test's bytes is wrong: {bytes:02X?}");
            frame
        }
        Split::Need(need) => panic!("{need} bytes are needed, {} are there: {bytes:02X?}", bytes.len()),
    }
}

/// The one packet that `bytes` are.
pub fn decode_all(version: Version, bytes: &[u8]) -> Result<Packet<'_>, Error> {
    mqtt::decode(version, frame_of(bytes))
}

/// A packet from its first byte and body, with the length it needs.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
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
