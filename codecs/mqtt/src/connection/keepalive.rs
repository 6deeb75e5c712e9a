//! How long a client may be silent.

/// The keep-alive timer of one connection: one and a half times the agreed interval after the last packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive {
    interval_s: u16,
    heard_ms: u64,
}

impl KeepAlive {
    /// A client was last heard at `now_ms`; an interval of 0 seconds never times out.
    pub const fn new(interval_s: u16, now_ms: u64) -> Self {
        Self { interval_s, heard_ms: now_ms }
    }

    /// A packet arrived, or the server that had stopped reading begins again.
    #[inline]
    pub fn heard(&mut self, now_ms: u64) {
        self.heard_ms = now_ms;
    }

    /// The interval in seconds; 0 = none.
    pub const fn interval_s(&self) -> u16 {
        self.interval_s
    }

    /// When the client has been silent for too long, unless it is heard before.
    #[inline]
    pub fn deadline_ms(&self) -> Option<u64> {
        if self.interval_s == 0 {
            return None;
        }
        // [MQTT-3.1.2-22]
        Some(self.heard_ms.saturating_add(u64::from(self.interval_s).saturating_mul(1500)))
    }
}

/// The interval that holds on a connection, and whether the client must be told because it is not its own.
///
/// `max_s` 0 means that the server has no opinion. Only MQTT 5.0 has a way to tell the client, so for older versions
/// the client's word holds.
pub(crate) fn agree(client_s: u16, max_s: u16, is_v5: bool) -> (u16, Option<u16>) {
    let too_long = client_s == 0 || client_s > max_s;
    // [MQTT-3.2.2-21], [MQTT-3.2.2-22]
    if is_v5 && max_s != 0 && too_long { (max_s, Some(max_s)) } else { (client_s, None) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_and_a_half_intervals_after_the_last_packet() {
        // [MQTT-3.1.2-22]
        let mut timer = KeepAlive::new(10, 1_000);
        assert_eq!(timer.deadline_ms(), Some(16_000));
        timer.heard(2_000);
        assert_eq!(timer.deadline_ms(), Some(17_000));
        assert_eq!(KeepAlive::new(0, 1_000).deadline_ms(), None);
        assert_eq!(KeepAlive::new(u16::MAX, u64::MAX).deadline_ms(), Some(u64::MAX));
    }

    #[test]
    fn only_a_client_that_can_be_told_is_overruled() {
        // [MQTT-3.2.2-21], [MQTT-3.2.2-22]
        assert_eq!(agree(60, 600, true), (60, None));
        assert_eq!(agree(601, 600, true), (600, Some(600)));
        assert_eq!(agree(0, 600, true), (600, Some(600)));
        assert_eq!(agree(0, 600, false), (0, None));
        assert_eq!(agree(900, 600, false), (900, None));
        assert_eq!(agree(0, 0, true), (0, None));
    }
}
