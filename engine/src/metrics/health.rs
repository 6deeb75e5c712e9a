//! How a sink stands with what it writes to, as one shard sees it.

/// The text says why, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Nothing keeps records from being written.
    Connected,
    /// Something does, and is being worked on: a leader, a topic, a link.
    Connecting(String),
    /// Nobody answers.
    Disconnected(String),
    /// Nothing will be written until somebody acts.
    Stopped(String),
}

impl Health {
    /// The state without its reason.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Connecting(_) => "connecting",
            Self::Disconnected(_) => "disconnected",
            Self::Stopped(_) => "stopped",
        }
    }

    /// What keeps records from being written.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Connected => None,
            Self::Connecting(why) | Self::Disconnected(why) | Self::Stopped(why) => Some(why),
        }
    }

    /// Of two views the worse: what one shard cannot write is not written.
    #[must_use]
    pub fn worse<'a>(&'a self, other: &'a Self) -> &'a Self {
        if other.badness() > self.badness() { other } else { self }
    }

    fn badness(&self) -> u8 {
        match self {
            Self::Connected => 0,
            Self::Connecting(_) => 1,
            Self::Disconnected(_) => 2,
            Self::Stopped(_) => 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_view_counts_and_the_first_of_equals() {
        let connecting = |why: &str| Health::Connecting(why.to_string());
        let views = [Health::Connected, connecting("a"), connecting("b")];
        let worst = views.iter().fold(&Health::Connected, Health::worse);
        assert_eq!((worst.word(), worst.reason()), ("connecting", Some("a")));
        let stopped = Health::Stopped("denied".to_string());
        assert_eq!(stopped.worse(&Health::Disconnected("x".to_string())), &stopped);
    }
}
