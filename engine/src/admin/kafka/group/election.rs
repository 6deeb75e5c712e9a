//! Which way of dividing a generation uses: one that every member knows; of those, the one most members like best.

use super::member::Member;

/// The elected protocol; empty where the members share none, which joining does not let happen.
pub(super) fn elect(members: &[Member]) -> String {
    let Some(first) = members.first() else { return String::new() };
    let is_shared = |name: &str| members.iter().all(|member| member.metadata(name).is_some());
    let shared: Vec<&str> =
        first.protocols.iter().map(|(name, _)| name.as_str()).filter(|name| is_shared(name)).collect();
    let vote = |member: &Member| {
        member.protocols.iter().find_map(|(name, _)| shared.iter().position(|candidate| candidate == name))
    };
    let mut votes = vec![0usize; shared.len()];
    for n in members.iter().filter_map(vote) {
        votes[n] += 1;
    }
    // Of equals, the one the eldest member prefers.
    let most = votes.iter().copied().max().unwrap_or(0);
    let winner = votes.iter().position(|&count| count == most);
    winner.map_or_else(String::new, |n| shared[n].to_owned())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::Join;
    use super::*;

    fn check(members: &[&[&str]], expected: &str) {
        let members: Vec<_> = members
            .iter()
            .map(|names| {
                let protocols = names.iter().map(|name| ((*name).to_owned(), Bytes::new())).collect();
                Member::new(String::new(), &Join { protocols, ..Join::default() })
            })
            .collect();
        assert_eq!(elect(&members), expected);
    }

    #[test]
    fn the_shared_favourite_wins() {
        check(&[&["range"]], "range");
        check(&[&["sticky", "range"], &["range"]], "range");
        check(&[&["a", "b"], &["b", "a"], &["b", "a"]], "b");
        check(&[&["a", "b"], &["b", "a"]], "a");
        check(&[&["a"], &["b"]], "");
        check(&[], "");
    }
}
