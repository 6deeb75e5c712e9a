//! Records that were taken and will never be stored although no broker refused them, as they were counted.

use crate::plan::SINKS_MAX;

/// How many.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct GivenUp {
    /// Those that made room for newer ones, or went to a topic that is none, by sink.
    pub(crate) by_sink: [u64; SINKS_MAX],
    /// Those that the disk did not give back.
    pub(crate) unread: u64,
}

impl GivenUp {
    /// Adds others.
    pub(crate) fn add(&mut self, other: &Self) {
        self.by_sink.iter_mut().zip(other.by_sink).for_each(|(own, other)| *own += other);
        self.unread += other.unread;
    }

    /// Those of a sink that are more than another has.
    pub(crate) fn beyond(&self, other: &Self) -> Self {
        let mut beyond = Self::default();
        for (sink, records) in beyond.by_sink.iter_mut().enumerate() {
            *records = self.by_sink[sink].saturating_sub(other.by_sink[sink]);
        }
        beyond
    }

    /// Whether there are any.
    pub(crate) fn is_some(&self) -> bool {
        self.unread > 0 || self.by_sink.iter().any(|&records| records > 0)
    }

    /// Whether so many may be missing, by sink.
    pub(crate) fn excuses(&self, missing: &[u64; SINKS_MAX]) -> bool {
        let beyond = missing.iter().zip(self.by_sink).map(|(missing, own)| missing.saturating_sub(own));
        beyond.sum::<u64>() <= self.unread
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_sink_gave_up_excuses_nothing_of_another() {
        let mut given_up = GivenUp { by_sink: [3, 0, 0], unread: 0 };
        assert!(given_up.excuses(&[3, 0, 0]) && !given_up.excuses(&[4, 0, 0]) && !given_up.excuses(&[0, 1, 0]));
        given_up.add(&GivenUp { by_sink: [0, 1, 0], unread: 2 });
        assert!(given_up.excuses(&[4, 2, 0]) && !given_up.excuses(&[5, 2, 0]));
    }
}
