//! Which version of each API a broker and we both speak. Every broker is asked on its own: during a rolling upgrade they
//! differ.
//!
//! Left out: who leads what, which is the engine's to cache.

use crate::message::api_versions::ApiRange;
use crate::message::{API_COUNT, APIS, ApiKey};
use std::fmt;

/// The versions agreed with one broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    /// In the order of [`APIS`]; `None` where there is no common version.
    agreed: [Option<i16>; API_COUNT],
    ranges: Vec<ApiRange>,
}

impl Versions {
    /// Chooses the newest version both sides know of every API.
    pub fn negotiate(ranges: Vec<ApiRange>) -> Self {
        let agreed = APIS.map(|api| {
            let theirs = ranges.iter().find(|range| range.key == api.key as i16)?;
            let newest = api.version_max.min(theirs.version_max);
            (newest >= api.version_min.max(theirs.version_min)).then_some(newest)
        });
        Self { agreed, ranges }
    }

    /// The version to use for `api`.
    ///
    /// # Errors
    /// If there is none: the broker is too old or too new for us, or does not offer the API.
    pub fn of(&self, api: ApiKey) -> Result<i16, NoCommonVersion> {
        let at = APIS.iter().position(|row| row.key == api);
        let agreed = at.and_then(|at| self.agreed.get(at)).copied().flatten();
        agreed.ok_or_else(|| NoCommonVersion { api, ranges: self.ranges.clone() })
    }

    /// Everything the broker said it speaks.
    pub fn ranges(&self) -> &[ApiRange] {
        &self.ranges
    }
}

/// A broker and we have no version of an API in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoCommonVersion {
    /// The API that was needed.
    pub api: ApiKey,
    /// What the broker speaks.
    pub ranges: Vec<ApiRange>,
}

impl fmt::Display for NoCommonVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ours = self.api.api();
        let name = self.api.name();
        write!(f, "we speak {name} {} to {}, ", ours.version_min, ours.version_max)?;
        match self.ranges.iter().find(|range| range.key == self.api as i16) {
            None => write!(f, "the broker does not offer it: use Apache Kafka {} or later", ours.since)?,
            Some(theirs) => {
                write!(f, "the broker {} to {}: ", theirs.version_min, theirs.version_max)?;
                if theirs.version_max < ours.version_min {
                    write!(f, "use Apache Kafka {} or later", ours.since)?;
                } else {
                    f.write_str("use a later version of Aqueduct")?;
                }
            }
        }
        f.write_str(" (the broker speaks")?;
        for (n, range) in self.ranges.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma} {}:{}-{}", range.key, range.version_min, range.version_max)?;
        }
        f.write_str(if self.ranges.is_empty() { " nothing)" } else { ")" })
    }
}

impl std::error::Error for NoCommonVersion {}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(ranges: &[(i16, i16, i16)]) -> Versions {
        let range = |&(key, version_min, version_max)| ApiRange { key, version_min, version_max };
        Versions::negotiate(ranges.iter().map(range).collect())
    }

    #[test]
    fn the_newest_common_version_is_taken() {
        let check = |theirs: (i16, i16), expected| {
            assert_eq!(
                versions(&[(1, 0, 99), (0, theirs.0, theirs.1)]).of(ApiKey::Produce).ok(),
                expected,
                "{theirs:?}"
            );
        };
        check((0, 3), Some(3));
        check((0, 7), Some(7));
        check((3, 13), Some(12));
        check((12, 20), Some(12));
        check((0, 2), None);
        check((13, 20), None);
    }

    #[test]
    fn without_one_the_error_says_what_to_do() {
        let check = |ranges: &[(i16, i16, i16)], expected: &str| {
            let error = versions(ranges).of(ApiKey::Produce).unwrap_err();
            assert_eq!(error.to_string(), expected);
        };
        check(
            &[(0, 0, 2), (3, 0, 2)],
            "we speak Produce 3 to 12, the broker 0 to 2: use Apache Kafka 0.11 or later (the broker speaks 0:0-2, 3:0-2)",
        );
        check(
            &[(0, 14, 20)],
            "we speak Produce 3 to 12, the broker 14 to 20: use a later version of Aqueduct (the broker speaks 0:14-20)",
        );
        check(
            &[],
            "we speak Produce 3 to 12, the broker does not offer it: use Apache Kafka 0.11 or later (the broker speaks nothing)",
        );
    }
}
