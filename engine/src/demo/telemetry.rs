//! What a simulated device measures: a slow random walk, the same at every start.

/// Where the devices stand.
const SITES: [&str; 4] = ["north", "east", "south", "west"];

/// The sensors of one device.
#[derive(Debug)]
pub(super) struct Telemetry {
    device: String,
    site: &'static str,
    seq: u64,
    temperature: Walk,
    humidity: Walk,
    battery: f64,
    random: Random,
}

impl Telemetry {
    pub(super) fn new(index: u32) -> Self {
        Self {
            device: format!("device-{index}"),
            site: SITES[index as usize % SITES.len()],
            seq: 0,
            temperature: Walk { value: 21.0, range: (15.0, 30.0), step: 0.4 },
            humidity: Walk { value: 45.0, range: (20.0, 80.0), step: 1.0 },
            battery: 100.0,
            random: Random(u64::from(index)),
        }
    }

    pub(super) fn device(&self) -> &str {
        &self.device
    }

    pub(super) fn topic(&self) -> String {
        format!("demo/{}/{}/telemetry", self.site, self.device)
    }

    /// The next reading as JSON; `time_ms` is milliseconds since 1970 UTC.
    pub(super) fn next(&mut self, time_ms: u64) -> String {
        let temperature = self.temperature.next(&mut self.random);
        let humidity = self.humidity.next(&mut self.random);
        self.battery = if self.battery < 5.0 { 100.0 } else { self.battery - 0.01 };
        let Self { device, site, seq, battery, .. } = self;
        // Nothing in it needs escaping.
        let reading = format!(
            "{{\"device\":\"{device}\",\"site\":\"{site}\",\"seq\":{seq},\"time\":{time_ms},\
             \"temperature\":{temperature:.1},\"humidity\":{humidity:.1},\"battery\":{battery:.1}}}"
        );
        self.seq += 1;
        reading
    }
}

#[derive(Debug)]
struct Walk {
    value: f64,
    range: (f64, f64),
    /// The longest step.
    step: f64,
}

impl Walk {
    fn next(&mut self, random: &mut Random) -> f64 {
        let (low, high) = self.range;
        self.value = (self.value + self.step * random.next()).clamp(low, high);
        self.value
    }
}

/// SplitMix64: a few lines that are random enough for a thermometer.
#[derive(Debug)]
struct Random(u64);

impl Random {
    /// From -1 to 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as f64 / u64::MAX as f64 * 2.0 - 1.0
    }
}
