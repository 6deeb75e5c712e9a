//! What a segment is called and where it lies, as Apache Kafka lays its logs out.
//!
//! ```text
//! data_dir/log/<topic>-<partition>/00000000000000000000.log     record batches v2, one behind the other
//!                                  00000000000000183207.log     named for the offset of its first record
//! ```
//!
//! A segment ends where the next one begins: what lies in a file at or above the next file's base offset is doubt left
//! by a failed write, and no reader looks at it.
//!
//! There are no `.index` files on purpose. An index would be one more thing to keep consistent through crashes, and
//! Kafka's tools rebuild it themselves; readers here build a sparse one in memory the first time they meet a segment
//! (see `log/reader.rs`).

use std::path::{Path, PathBuf};

/// Digits of a base offset in a file name; `i64::MAX` has nineteen.
const DIGITS: usize = 20;
const SUFFIX: &str = ".log";
/// Kafka's limit on topic names: the directory name must fit a file system, with the partition behind it.
const TOPIC_CHARS_MAX: usize = 249;

/// The file name of the segment whose first record has this offset.
pub fn file_name(base_offset: i64) -> String {
    format!("{base_offset:0DIGITS$}{SUFFIX}")
}

/// The base offset a file name stands for; `None` for any other file.
pub fn base_offset(file_name: &str) -> Option<i64> {
    let digits = file_name.strip_suffix(SUFFIX)?;
    let whole = digits.len() == DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
    whole.then(|| digits.parse().ok()).flatten()
}

/// The directory of one partition.
pub fn partition_dir(data_dir: &Path, topic: &str, partition: u32) -> PathBuf {
    data_dir.join("log").join(format!("{topic}-{partition}"))
}

/// Whether Kafka takes this as a topic name: 1 to 249 of `a-z A-Z 0-9 . _ -`, and neither `.` nor `..`, which would lead
/// out of the log directory.
pub fn is_topic_name(topic: &str) -> bool {
    (1..=TOPIC_CHARS_MAX).contains(&topic.len())
        && topic != "."
        && topic != ".."
        && topic.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_its_offset() {
        assert_eq!(file_name(0), "00000000000000000000.log");
        assert_eq!(base_offset(&file_name(183_207)), Some(183_207));
        assert_eq!(base_offset(&file_name(i64::MAX)), Some(i64::MAX));
    }

    #[test]
    fn other_files_are_not_segments() {
        for other in [
            "0.log",
            "00000000000000000000.index",
            "0000000000000000000x.log",
            "99999999999999999999.log",
            "-0000000000000000001.log",
        ] {
            assert_eq!(base_offset(other), None, "{other}");
        }
    }

    #[test]
    fn topic_names_cannot_leave_the_directory() {
        assert!(is_topic_name("mqtt") && is_topic_name("a.b_c-1"));
        let long = "x".repeat(250);
        for bad in ["", ".", "..", "a/b", "../x", "a b", "é", long.as_str()] {
            assert!(!is_topic_name(bad), "{bad}");
        }
    }
}
