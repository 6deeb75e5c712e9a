//! The numbers of connectors: who has which, and what the next change makes of them.
//!
//! A connector's number stands in the addresses that its links dial, in questions of logins and in tokens, some of which come late. So
//! no number is ever given to another connector. One that was removed goes on, with its links, until no sink of it has a slot.

use super::{NeedsRestart, Roster, is_embedded_kind};
use crate::config::{Config, Connector};
use crate::shard::control::SlotState;

/// Connectors by number, as a change wants them.
#[derive(Debug)]
pub(super) struct Numbered {
    pub(super) list: Vec<Connector>,
    pub(super) states: Vec<SlotState>,
    /// By their positions in the configuration that is wanted.
    pub(super) numbers: Vec<usize>,
    /// Numbers that are new, ascending.
    pub(super) fresh: Vec<u16>,
    /// Numbers of connectors that stay and have other options, ascending.
    pub(super) changed: Vec<u16>,
}

impl Roster {
    pub(super) fn number_connectors(&self, wanted: &Config) -> Result<Numbered, NeedsRestart> {
        let (mut list, mut states) = (self.config.connectors.clone(), self.connectors.clone());
        let mut numbers = Vec::with_capacity(wanted.connectors.len());
        let (mut fresh, mut changed) = (Vec::new(), Vec::new());
        for connector in &wanted.connectors {
            let number = self.number_of(connector).unwrap_or(list.len());
            if number == list.len() {
                if is_embedded_kind(connector) {
                    return Err(NeedsRestart::Log(connector.name.clone()));
                }
                let number = u16::try_from(number);
                fresh.push(number.map_err(|_| NeedsRestart::ConnectorNumbers(connector.name.clone()))?);
                list.push(connector.clone());
                states.push(SlotState::Active);
            } else if !list[number].differing(connector).is_empty() {
                changed.push(number as u16);
            }
            list[number].clone_from(connector);
            states[number] = SlotState::Active;
            numbers.push(number);
        }
        for (number, state) in states.iter_mut().enumerate().filter(|(_, state)| **state == SlotState::Active) {
            if !numbers.contains(&number) {
                if is_embedded_kind(&list[number]) {
                    return Err(NeedsRestart::Log(list[number].name.clone()));
                }
                *state = SlotState::Leaving;
            }
        }
        changed.sort_unstable();
        Ok(Numbered { list, states, numbers, fresh, changed })
    }

    /// The number that a connector has, or had and can go on with.
    fn number_of(&self, wanted: &Connector) -> Option<usize> {
        let find = |state: SlotState, is_it: &dyn Fn(&Connector) -> bool| {
            let mut all = self.config.connectors.iter().zip(&self.connectors);
            all.position(|(old, its)| *its == state && old.name == wanted.name && is_it(old))
        };
        // One that left may have the options that are wanted; the one that is there keeps its sinks all the same.
        find(SlotState::Active, &|_| true).or_else(|| find(SlotState::Leaving, &|old| old.differing(wanted).is_empty()))
    }

    /// Connectors that were removed and whose last sink is gone: nobody has their numbers any more, nor ever will.
    pub fn close_connectors(&mut self) -> Vec<u16> {
        let mut closed = Vec::new();
        for (number, state) in self.connectors.iter_mut().enumerate() {
            let sinks = self.config.sinks.iter().zip(&self.slots);
            let mut own = sinks.filter(|(sink, slot)| sink.connector == number && **slot != SlotState::Vacant);
            if *state == SlotState::Leaving && own.next().is_none() {
                *state = SlotState::Vacant;
                self.config.connectors[number] = self.config.connectors[number].bare();
                closed.push(number as u16);
            }
        }
        closed
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{next, read};
    use super::*;
    use SlotState::{Active, Leaving, Vacant};

    const ONE: &str = "[connectors.k]\n[sinks.a]\nconnector = \"k\"\ntopic = \"a\"\n";
    const OTHER: &str = "[connectors.j]\nbootstrap_hosts = \"far:9092\"\n[sinks.b]\nconnector = \"j\"\ntopic = \"b\"\n";

    fn roster(text: &str) -> Roster {
        Roster::new(&read(text).0)
    }

    #[test]
    fn a_connector_keeps_its_number_whatever_stands_before_it() {
        let snapshot = next(&roster(ONE), &format!("{OTHER}{ONE}")).expect("a change");
        let names: Vec<&str> = snapshot.config.connectors.iter().map(|connector| connector.name.as_str()).collect();
        assert_eq!((names, snapshot.fresh_connectors.as_slice()), (vec!["k", "j"], [1].as_slice()));
        let of = |sink: &str| snapshot.config.sinks.iter().find(|own| own.name == sink).map(|own| own.connector);
        assert_eq!((of("a"), of("b")), (Some(0), Some(1)));
    }

    #[test]
    fn a_connector_stays_until_its_last_sink_has_left() {
        let both = format!("{ONE}{OTHER}");
        let mut roster = roster(&both);
        let gone = next(&roster, ONE).expect("a change");
        assert_eq!(gone.connectors, [Active, Leaving]);
        roster.applied(gone);
        assert!(roster.close_connectors().is_empty(), "its sink has something left");
        let back = next(&roster, &both).expect("a change");
        assert_eq!((back.connectors.as_slice(), back.fresh_connectors.is_empty()), ([Active, Active].as_slice(), true));
        let moved = next(&roster, &both.replace("far", "farther")).expect("a change");
        assert_eq!((moved.connectors, moved.fresh_connectors), (vec![Active, Leaving, Active], vec![2]));
        assert!(roster.left(1));
        assert_eq!((roster.close_connectors(), roster.close_connectors()), (vec![1], vec![]));
        assert_eq!(roster.connector_names(), ["k", ""]);
    }

    #[test]
    fn a_connector_that_stays_may_have_other_options() {
        let both = format!("{ONE}{OTHER}");
        let other = both.replace("far:9092\"", "far:9092\"\nclient_id = \"other\"");
        let snapshot = next(&roster(&both), &other).expect("a change");
        assert_eq!((snapshot.changed_connectors, snapshot.fresh_connectors), (vec![1], vec![]));
        assert_eq!(snapshot.connectors, [Active, Active]);
    }

    #[test]
    fn the_one_that_is_there_stays_though_one_that_left_had_the_options() {
        let both = format!("{ONE}{OTHER}");
        let mut roster = roster(&both);
        for text in [ONE, &both.replace("far", "farther")] {
            let snapshot = next(&roster, text).expect("a change");
            roster.applied(snapshot);
        }
        let back = next(&roster, &both).expect("a change");
        assert_eq!((back.connectors, back.changed_connectors), (vec![Active, Leaving, Active], vec![2]));
    }

    #[test]
    fn no_number_is_given_twice() {
        let mut roster = roster(ONE);
        let refused = next(&roster, &format!("{ONE}{OTHER}")).expect("a change");
        roster.withdrawn(refused);
        assert_eq!(
            (roster.connectors.as_slice(), roster.connector_names()),
            ([Active, Vacant].as_slice(), vec!["k".into(), String::new()])
        );
        assert_eq!(next(&roster, &format!("{ONE}{OTHER}")).expect("a change").fresh_connectors, [2]);
    }

    #[test]
    fn the_embedded_log_neither_comes_nor_goes() {
        let log = OTHER.replace("bootstrap_hosts = \"far:9092\"", "type = \"embedded\"");
        let both = format!("{ONE}{log}");
        let refusals = [next(&roster(ONE), &both), next(&roster(&both), ONE)];
        assert!(
            refusals.iter().all(|refused| matches!(refused, Err(NeedsRestart::Log(name)) if name == "j")),
            "{refusals:?}"
        );
    }
}
