//! A second opinion: what our codec accepts, mqttbytes 0.6 must read the same way.
//!
//! The exceptions are its known defects, listed where they are excused; it accepts a good deal that is refused here, which is not
//! compared.

pub(super) mod v3_1_1;
pub(super) mod v5_0;

use mqtt::QoS;

const FRAME_BYTES_MAX: usize = 1 << 20;

fn level(qos: QoS) -> String {
    format!("{qos:?}")
}
