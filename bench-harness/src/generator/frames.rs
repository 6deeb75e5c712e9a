//! PUBLISH frames, encoded once and patched in place.
//!
//! A block holds as many equal frames as one `send` may carry. Before a send, topic digits, packet id, stamp and the digits of
//! telemetry of the first n frames are overwritten; everything else stays. The block is shared by all clients, so it lives in the cache.

use crate::message::{self, Payload, STAMP_BYTES, Stamp, Telemetry};
use crate::mqtt_wire::{self, PublishLayout};
use crate::workload::Workload;

/// Upper bound of one block: larger sends gain nothing and would fall out of the second-level cache.
const BLOCK_BYTES_MAX: usize = 64 * 1024;

/// A block of frames of equal length.
pub(super) struct Frames {
    bytes: Vec<u8>,
    layout: PublishLayout,
    count: u32,
    telemetry: Option<Telemetry>,
}

impl Frames {
    /// A block for the workload's message size; it holds a whole window if that fits.
    pub(super) fn new(workload: &Workload) -> Self {
        let json = workload.payload == Payload::Json;
        let mut telemetry = json.then(|| Telemetry::new(workload.payload_bytes - STAMP_BYTES));
        let stamp = Stamp { client: 0, sequence: 0 };
        let mut payload = stamp.to_bytes().to_vec();
        match &mut telemetry {
            Some(telemetry) => payload.extend(telemetry.of(stamp)),
            None => payload.extend(message::filler(workload.payload_bytes)),
        }
        let mut bytes = Vec::new();
        let layout = mqtt_wire::put_publish(&mut bytes, workload.qos, &message::topic(0), &payload);
        let fit = (BLOCK_BYTES_MAX / layout.frame_bytes).max(1) as u32;
        let count = if workload.qos == 0 { fit } else { fit.min(workload.window) };
        let one = bytes.clone();
        for _ in 1..count {
            bytes.extend_from_slice(&one);
        }
        Self { bytes, layout, count, telemetry }
    }

    /// Frames that one block holds.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// The first `count` frames, patched to be the messages of `client` from `first` on.
    pub(super) fn patch(&mut self, client: u32, topic: &[u8], first: u32, count: u32) -> &[u8] {
        let PublishLayout { topic_at, packet_id_at, payload_at, frame_bytes } = self.layout;
        let used = &mut self.bytes[..frame_bytes * count as usize];
        for (sequence, frame) in (first..).zip(used.chunks_exact_mut(frame_bytes)) {
            frame[topic_at..topic_at + topic.len()].copy_from_slice(topic);
            if let Some(at) = packet_id_at {
                frame[at..at + 2].copy_from_slice(&packet_id(sequence).to_be_bytes());
            }
            let (stamp, payload) = (Stamp { client, sequence }, &mut frame[payload_at..]);
            payload[..STAMP_BYTES].copy_from_slice(&stamp.to_bytes());
            if let Some(telemetry) = &self.telemetry {
                telemetry.patch(&mut payload[STAMP_BYTES..], stamp);
            }
        }
        used
    }
}

/// The packet id of a client's message: 1 to 65,535 in turn, so it is unique within any window.
pub(super) fn packet_id(sequence: u32) -> u16 {
    (sequence % 65_535 + 1) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_frame_of_telemetry_bears_its_own() {
        let mut frames = Frames::new(&Workload::load("a-json").unwrap());
        let block = frames.patch(7, message::topic(7).as_bytes(), 5, 2).to_vec();
        let (first, length) = mqtt_wire::packet(&block).unwrap().unwrap();
        let (second, _) = mqtt_wire::packet(&block[length..]).unwrap().unwrap();
        let mut bodies = message::Bodies::new(256);
        for (sequence, publish) in [(5, first), (6, second)] {
            let payload = &publish.body[16..];
            assert_eq!(Stamp::of(payload), Some(Stamp { client: 7, sequence }));
            assert!(
                payload[STAMP_BYTES] == b'{'
                    && bodies.is_intact(Stamp { client: 7, sequence }, &payload[STAMP_BYTES..])
            );
            assert!(!bodies.is_intact(Stamp { client: 7, sequence: 9 }, &payload[STAMP_BYTES..]));
        }
    }

    #[test]
    fn patched_frames_equal_frames_encoded_afresh() {
        let workload = Workload::load("a").unwrap();
        let mut frames = Frames::new(&workload);
        assert_eq!(frames.count(), 100);
        frames.patch(3, message::topic(3).as_bytes(), 7, 100);
        let block = frames.patch(49, message::topic(49).as_bytes(), 65_530, 10).to_vec();
        let mut rest = block.as_slice();
        for sequence in 65_530..65_540 {
            let mut payload = Stamp { client: 49, sequence }.to_bytes().to_vec();
            payload.extend(message::filler(256));
            let (publish, length) = mqtt_wire::packet(rest).unwrap().unwrap();
            assert_eq!(&publish.body[2..14], b"bench/000049");
            assert_eq!(publish.u16_at(14).unwrap(), packet_id(sequence));
            assert_eq!(&publish.body[16..], payload);
            rest = &rest[length..];
        }
        assert!(rest.is_empty());
        assert_eq!((packet_id(0), packet_id(65_534), packet_id(65_535)), (1, 65_535, 1));
    }
}
