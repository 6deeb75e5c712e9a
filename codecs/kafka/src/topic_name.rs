//! What a topic may be called (`Topic.validate` of Kafka): 1 to 249 letters, digits, dots, underscores and dashes, neither `.` nor
//! `..`. Left out: names that begin with `__`, which brokers keep for themselves and would refuse.

/// Longest name, in bytes: a directory is called so, with a partition behind it.
pub const TOPIC_NAME_MAX: usize = 249;

/// Whether a topic may be called so.
pub fn is_topic_name(name: &[u8]) -> bool {
    let legal = |b: &u8| b.is_ascii_alphanumeric() || b"._-".contains(b);
    (1..=TOPIC_NAME_MAX).contains(&name.len()) && name.iter().all(legal) && name != b"." && name != b".."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_kafka_takes() {
        for name in ["t", "t-1_a.B", &"x".repeat(249)] {
            assert!(is_topic_name(name.as_bytes()), "{name}");
        }
        for name in ["", ".", "..", "a/b", "a b", "ü", "a\0", &"x".repeat(250)] {
            assert!(!is_topic_name(name.as_bytes()), "{name}");
        }
    }
}
