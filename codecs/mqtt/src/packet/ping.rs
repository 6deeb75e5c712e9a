//! PINGREQ and PINGRESP: two bytes, the same in all versions.
//!
//! ```text
//! C0 00    PINGREQ, client to server
//! D0 00    PINGRESP, server to client
//! ```

use super::PacketType;
use crate::Error;
use crate::primitive::end;

/// Both are nothing but a fixed header.
#[inline]
pub(super) fn decode(body: &[u8]) -> Result<(), Error> {
    end(&wire::Reader::new(body))
}

/// Appends a PINGREQ.
#[inline]
pub fn encode_pingreq(out: &mut Vec<u8>) {
    out.extend_from_slice(&[PacketType::PingReq.first(), 0]);
}

/// Appends a PINGRESP.
#[inline]
pub fn encode_pingresp(out: &mut Vec<u8>) {
    out.extend_from_slice(&[PacketType::PingResp.first(), 0]);
}
