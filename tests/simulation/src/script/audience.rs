//! Who is to be told of a publication: what each client of a script subscribes to, and how many deliveries are due to it.
//!
//! As the standards say it, and only as far as scripts go: one delivery for a client, however many of its filters match.

/// One client's session as a subscriber.
#[derive(Debug, Default)]
pub(super) struct Audience {
    filters: Vec<(String, u8)>,
    /// There is a connection.
    pub(super) here: bool,
    /// The session outlives its connection.
    pub(super) keeps: bool,
    /// Deliveries that have not come.
    pub(super) due: usize,
    /// Deliveries that came and were not answered.
    pub(super) unanswered: usize,
}

impl Audience {
    /// A connection begins; `present` is what CONNACK says.
    pub(super) fn connected(&mut self, present: bool, keeps: bool) {
        if !present {
            *self = Self::default();
        }
        (self.here, self.keeps) = (true, keeps);
        // [MQTT-4.4.0-1]
        self.due += std::mem::take(&mut self.unanswered);
    }

    /// The connection is over.
    pub(super) fn left(&mut self) {
        self.here = false;
        if !self.keeps {
            *self = Self::default();
        }
    }

    /// Subscribes.
    pub(super) fn subscribe(&mut self, filter: String, qos: u8) {
        self.unsubscribe(&filter);
        self.filters.push((filter, qos));
    }

    /// Ends a subscription.
    pub(super) fn unsubscribe(&mut self, filter: &str) {
        self.filters.retain(|(known, _)| known != filter);
    }

    /// Something is published that nobody refuses.
    pub(super) fn published(&mut self, topic: &str, qos: u8) {
        let matching = self.filters.iter().filter(|(filter, _)| matches(filter, topic));
        let Some(granted) = matching.map(|&(_, qos)| qos).max() else { return };
        if self.here || qos.min(granted) > 0 {
            self.due += 1;
        }
    }
}

/// MQTT 5.0 section 4.7, for topics that do not begin with `$`.
fn matches(filter: &str, topic: &str) -> bool {
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        match (wanted, levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (wanted, Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn filters_match_as_the_standard_says() {
        for (filter, topic, expected) in [
            ("#", "a/b", true),
            ("a/#", "a", true),
            ("a/#", "b", false),
            ("a/+", "a", false),
            ("a/+", "a/b", true),
            ("a/+", "a/b/c", false),
            ("a/b", "a/b", true),
            ("a", "a/b", false),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }
}
