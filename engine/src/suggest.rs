//! "Did you mean": the known word closest to an unknown one.

/// The candidate with the fewest edits (insert, delete, replace, swap neighbours) to `word`, if those are few enough
/// for its length to be a slip rather than another word.
pub(crate) fn closest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).clamp(1, 4);
    candidates
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= limit || contains_word(candidate, word))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `batch_bytes` is a piece of `max_batch_bytes`, and `packet_size` one of `max_packet_size`.
fn contains_word(candidate: &str, word: &str) -> bool {
    word.len() >= 4 && candidate.contains(word)
}

/// Optimal string alignment distance.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().flat_map(char::to_lowercase).collect();
    let b: Vec<char> = b.chars().flat_map(char::to_lowercase).collect();
    let width = b.len() + 1;
    let mut table = vec![0usize; (a.len() + 1) * width];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            table[i * width + j] = match (i, j) {
                (0, _) => j,
                (_, 0) => i,
                _ => {
                    let same = usize::from(a[i - 1] != b[j - 1]);
                    let replaced = table[(i - 1) * width + j - 1] + same;
                    let edited = 1 + table[(i - 1) * width + j].min(table[i * width + j - 1]);
                    let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                    let best = replaced.min(edited);
                    if swapped { best.min(1 + table[(i - 2) * width + j - 2]) } else { best }
                }
            };
        }
    }
    table[a.len() * width + b.len()]
}

#[cfg(test)]
mod tests {
    use super::closest;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        let keys = ["max_batch_bytes", "batch_target_bytes", "linger", "max_inflight", "topic"];
        let check = |word: &str, expected| assert_eq!(closest(word, keys.into_iter()), expected, "{word}");
        check("max_inflght", Some("max_inflight"));
        check("lingre", Some("linger"));
        check("Topic", Some("topic"));
        check("batch_bytes", Some("max_batch_bytes"));
        check("compression", None);
        check("x", None);
    }
}
