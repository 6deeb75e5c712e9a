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
