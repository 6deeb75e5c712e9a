//! JSON behind the stamp, as devices send it: names that repeat from message to message, readings that do not.
//!
//! ```text
//! {"device":"dev-00007","ts":1760000000020,"temperature":413.07,…,"rssi":-71,"site":"north",…,"note":"....."}
//! ```
//!
//! All numbers have as many digits in every message, so a frame is patched where they stand; the note fills it up. What they are
//! follows from the stamp, so a reader can say whether a message is byte for byte what was sent.

use super::Stamp;
use crate::random::Random;

/// The least room it needs.
pub const TELEMETRY_BYTES_MIN: usize = 224;

/// Its text up to the note.
const TEXT: &[u8] = br#"{"device":"dev-00000","ts":1760000000000,"temperature":000.00,"humidity":000.00,"pressure":000.00,"voltage":000.00,"current":000.00,"rssi":-00,"site":"north","firmware":"4.12.3","state":"running","note":""#;

/// What stands before each reading.
const READINGS: [&[u8]; 5] = [b"temperature\":", b"humidity\":", b"pressure\":", b"voltage\":", b"current\":"];

/// The text of one message, which becomes that of another by a few digits.
#[derive(Debug, Clone)]
pub struct Telemetry {
    text: Vec<u8>,
    digits: Digits,
}

/// Where the numbers begin that are not the same in every message.
#[derive(Debug, Clone, Copy)]
struct Digits {
    device: usize,
    timestamp: usize,
    readings: [usize; READINGS.len()],
    rssi: usize,
}

impl Telemetry {
    /// Text of so many bytes, at least [`TELEMETRY_BYTES_MIN`].
    pub fn new(bytes: usize) -> Self {
        let mut text = TEXT.to_vec();
        text.resize(bytes - 2, b'.');
        text.extend(b"\"}");
        let digits = Digits {
            device: behind(b"dev-"),
            timestamp: behind(b"\"ts\":"),
            readings: READINGS.map(behind),
            rssi: behind(b"\"rssi\":-"),
        };
        Self { text, digits }
    }

    /// The text of this message.
    pub fn of(&mut self, stamp: Stamp) -> &[u8] {
        self.digits.put(&mut self.text, stamp);
        &self.text
    }

    /// Makes the text of another message, in `text`, that of this one.
    pub fn patch(&self, text: &mut [u8], stamp: Stamp) {
        self.digits.put(text, stamp);
    }
}

impl Digits {
    fn put(&self, text: &mut [u8], stamp: Stamp) {
        let mut random = Random::new(u64::from(stamp.client) << 32 | u64::from(stamp.sequence));
        put_number(&mut text[self.device..][..5], u64::from(stamp.client));
        put_number(&mut text[self.timestamp..][..13], 1_760_000_000_000 + u64::from(stamp.sequence) * 20);
        for at in self.readings {
            // From 100.00 to 999.99: a number of JSON begins with no 0.
            let reading = 10_000 + random.below(90_000);
            put_number(&mut text[at..][..3], reading / 100);
            put_number(&mut text[at + 4..][..2], reading % 100);
        }
        put_number(&mut text[self.rssi..][..2], 10 + random.below(90));
    }
}

/// Decimal, with as many digits as there is room for.
fn put_number(room: &mut [u8], mut number: u64) {
    for digit in room.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Where in the text what follows `mark` begins.
fn behind(mark: &[u8]) -> usize {
    let at = TEXT.windows(mark.len()).position(|window| window == mark);
    at.map_or(0, |at| at + mark.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_json_of_the_length_asked_for_and_says_what_the_stamp_says() {
        for bytes in [TELEMETRY_BYTES_MIN, 248, 1_000] {
            let mut telemetry = Telemetry::new(bytes);
            for stamp in [Stamp { client: 0, sequence: 0 }, Stamp { client: 49, sequence: 24_000 }] {
                let text = telemetry.of(stamp);
                assert_eq!(text.len(), bytes);
                let json: serde_json::Value = serde_json::from_slice(text).unwrap();
                assert_eq!(json["device"], format!("dev-{:05}", stamp.client));
                assert_eq!(json["ts"], 1_760_000_000_000_u64 + u64::from(stamp.sequence) * 20);
                for name in ["temperature", "humidity", "pressure", "voltage", "current"] {
                    assert!(
                        json[name].as_f64().is_some_and(|value| (100.0..1_000.0).contains(&value)),
                        "{name}: {json}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_patched_text_is_the_text_of_the_other_message_and_readings_differ() {
        let mut telemetry = Telemetry::new(248);
        let mut patched = telemetry.of(Stamp { client: 1, sequence: 2 }).to_vec();
        let other = Stamp { client: 3, sequence: 2 };
        assert_ne!(patched, telemetry.of(other));
        telemetry.patch(&mut patched, other);
        assert_eq!(patched, telemetry.of(other));
        let temperatures: std::collections::BTreeSet<Vec<u8>> = (0..1_000)
            .map(|sequence| telemetry.of(Stamp { client: 7, sequence })[behind(READINGS[0])..][..6].to_vec())
            .collect();
        assert!(temperatures.len() > 980, "{} of 1000 differ", temperatures.len());
    }
}
