//! Judges the records of the topics, one by one, by the book.

use std::collections::BTreeMap;

use super::batch::Record;
use super::book::{Answer, Book, ClientPage};
use super::message::{self, Stamp};
use super::verdict::{Bad, Findings, Verdict};

/// Bad messages of a kind that are told in full.
const TOLD: usize = 5;
/// An answer that was on its way when the last broker forgot a topic is read within so long. Nobody makes the topic anew before.
pub const GONE_GRACE_NS: u64 = 1_000_000_000;

/// What was sent so long ago has been read by a product that reads.
const TAKEN_NS: u64 = 1_000_000_000;

/// A fault and its time, on the monotonic clock of the book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// What was wrong.
    pub name: String,
    /// From when.
    pub from_ns: u64,
    /// Until when.
    pub until_ns: u64,
}

/// One record of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    partition: i32,
    offset: i64,
    producer: (i64, i16),
    number: i32,
    attempt: u16,
    appended_ms: Option<i64>,
}

impl Place {
    fn tell(&self, sequence: u32) -> String {
        let Self { partition, offset, producer: (id, epoch), number, attempt, .. } = self;
        format!(
            "{sequence} at {partition}/{offset}: producer {id}, epoch {epoch}, number {number}, attempt {}",
            attempt + 1
        )
    }
}

/// What is found of one client.
struct Seen<'a> {
    page: &'a ClientPage,
    first: Vec<Option<Place>>,
    further: BTreeMap<u32, Vec<Place>>,
    partition: Option<i32>,
    /// By partition.
    highest: BTreeMap<i32, u32>,
}

/// Compares while the topics are read.
pub struct Judge<'a> {
    book: &'a Book,
    windows: &'a [Window],
    clients: BTreeMap<u32, Seen<'a>>,
    verdict: Verdict,
    bad: Vec<Bad>,
    lost: Vec<(u32, u32)>,
}

impl<'a> Judge<'a> {
    /// Nothing is read yet.
    pub fn new(book: &'a Book, windows: &'a [Window]) -> Self {
        let seen = |page: &'a ClientPage| Seen {
            page,
            first: vec![None; page.messages.len()],
            further: BTreeMap::new(),
            partition: None,
            highest: BTreeMap::new(),
        };
        let clients = book.clients.iter().map(|(client, page)| (*client, seen(page))).collect();
        Self { book, windows, clients, verdict: Verdict::default(), bad: Vec::new(), lost: Vec::new() }
    }

    /// One record of the topic of a route, in the order of its partition.
    pub fn record(&mut self, route: u8, record: &Record<'_>) {
        self.verdict.records += 1;
        let place = Place {
            partition: record.partition,
            offset: record.offset,
            producer: (record.producer_id, record.producer_epoch),
            number: record.sequence,
            attempt: 0,
            appended_ms: record.appended_ms,
        };
        let value = record.value.unwrap_or_default();
        let (stamp, topic) = match message::parse(value) {
            Ok(message) if value.len() == self.book.payload_bytes => message,
            _ => {
                self.verdict.corrupt += 1;
                return self.tell("corrupt", None, &[place.tell(0)]);
            }
        };
        let place = Place { attempt: stamp.attempt, ..place };
        let known = self.clients.get(&stamp.client).is_some_and(|seen| (stamp.sequence as usize) < seen.first.len());
        if !known || stamp.run != self.book.run {
            self.verdict.ghost += 1;
            return self.tell("ghost", Some(&stamp), &[place.tell(stamp.sequence)]);
        }
        if !self.is_at_home(&stamp, route, topic, record) {
            self.verdict.misrouted += 1;
            self.tell("misrouted", Some(&stamp), &[place.tell(stamp.sequence)]);
        }
        self.copy(&stamp, place);
    }

    fn is_at_home(&mut self, stamp: &Stamp, route: u8, topic: &str, record: &Record<'_>) -> bool {
        let routes = self.book.routes;
        let own_topic = message::topic(stamp.client, routes) == topic && message::route(stamp.client, routes) == route;
        let own_key = record.key == Some(message::key(stamp.client).as_bytes());
        let grows = self.book.growths.contains_key(&route);
        let own_partition = self.clients.get_mut(&stamp.client).is_some_and(|seen| {
            let first = *seen.partition.get_or_insert(record.partition);
            // How often it may move is judged when all is read.
            grows || first == record.partition
        });
        own_topic && own_key && own_partition
    }

    fn copy(&mut self, stamp: &Stamp, place: Place) {
        let Some(seen) = self.clients.get_mut(&stamp.client) else { return };
        let Some(first) = seen.first.get_mut(stamp.sequence as usize) else { return };
        let Some(earlier) = first else {
            *first = Some(place);
            self.verdict.delivered += 1;
            let highest = seen.highest.entry(place.partition).or_default();
            if stamp.sequence < *highest && stamp.attempt > 0 {
                self.verdict.reorder_resend += 1;
                self.tell("reorder_resend", Some(stamp), &[place.tell(stamp.sequence)]);
            } else if stamp.sequence < *highest {
                self.verdict.reorder += 1;
                self.tell("reorder", Some(stamp), &[place.tell(stamp.sequence)]);
            } else {
                *highest = stamp.sequence;
            }
            return;
        };
        let mut place = place;
        if place.partition != earlier.partition && place.appended_ms < earlier.appended_ms {
            // Partitions are read one after the other; of two copies the one that came first is the first.
            std::mem::swap(earlier, &mut place);
        }
        let further = seen.further.entry(stamp.sequence).or_default();
        let twin = [*earlier].into_iter().chain(further.iter().copied()).find(|other| other.attempt == place.attempt);
        let others = [earlier.tell(stamp.sequence), place.tell(stamp.sequence)];
        further.push(place);
        // Under a new epoch QoS 1 and 2 are alike: the packet was received once.
        let is_across = twin.is_some_and(|twin| twin.producer != place.producer);
        if seen.page.qos == 2 && !is_across {
            self.verdict.dup2 += 1;
            self.tell("dup2", Some(stamp), &others);
        }
        match twin {
            None => self.verdict.dup_resend += 1,
            Some(_) if is_across => {
                self.verdict.dup_across += 1;
                self.tell("dup_across", Some(stamp), &others);
            }
            Some(_) => {
                self.verdict.dup_own += 1;
                self.tell("dup_own", Some(stamp), &others);
            }
        }
    }

    /// The result, once every topic is read.
    pub fn findings(mut self) -> Findings {
        let clients = std::mem::take(&mut self.clients);
        for (client, seen) in &clients {
            self.close(*client, seen);
        }
        let partition_of = clients.iter().filter_map(|(client, seen)| Some((*client, seen.partition?))).collect();
        Findings { verdict: self.verdict, bad: self.bad, partition_of, lost: self.lost }
    }

    fn close(&mut self, client: u32, seen: &Seen<'a>) {
        let later_acked = (0_u32..).zip(&seen.page.messages).zip(&seen.first);
        let last = later_acked
            .filter(|((_, sent), place)| matches!(sent.answer, Answer::Acked(_)) && place.is_some())
            .map(|((sequence, _), _)| sequence)
            .last();
        self.judge_moves(client, seen);
        self.judge_refusals(client, seen);
        let gone_ns = self.book.gone_ns.get(&message::route(client, self.book.routes));
        let went_with_topic = |acked_ns: u64| gone_ns.is_some_and(|gone_ns| acked_ns <= gone_ns + GONE_GRACE_NS);
        for ((sequence, sent), place) in (0_u32..).zip(&seen.page.messages).zip(&seen.first) {
            self.verdict.sent += 1;
            self.verdict.resent += u64::from(sent.attempts.saturating_sub(1));
            match (sent.answer, place) {
                (Answer::Acked(at), None) if went_with_topic(at) => {
                    self.verdict.acked += 1;
                    self.verdict.excused += 1;
                }
                (Answer::Acked(_), None) => {
                    self.verdict.acked += 1;
                    self.verdict.lost += 1;
                    self.lost.push((client, sequence));
                    self.verdict.gap_then_later += u64::from(last > Some(sequence));
                    self.tell("lost", Some(&self.stamp(client, sequence)), &neighbours(seen, sequence));
                }
                (Answer::Acked(at), Some(place)) => {
                    self.verdict.acked += 1;
                    if went_with_topic(at) {
                        // It was stored in the topic that is gone, and once more in the one that came after it.
                        self.verdict.dup_own += 1;
                        self.tell("dup_own", Some(&self.stamp(client, sequence)), &[place.tell(sequence)]);
                    }
                }
                (Answer::Nacked(..), place) => {
                    self.verdict.nacked += 1;
                    self.verdict.nacked_present += u64::from(place.is_some());
                }
                (Answer::None, None) => self.verdict.lost_unacked += 1,
                (Answer::None, Some(_)) => {}
            }
        }
    }

    /// Of what a client was refused: nothing that it had sent long before the refusal lies behind the gap.
    fn judge_refusals(&mut self, client: u32, seen: &Seen<'a>) {
        // When the next one was sent that is there. What was sent again may have come after the refusal.
        let mut later_ns = None;
        for (at, (sent, place)) in seen.page.messages.iter().zip(&seen.first).enumerate().rev() {
            let sequence = at as u32;
            match (sent.answer, place) {
                (Answer::Nacked(_, refused_ns), None)
                    if later_ns.is_some_and(|later_ns| later_ns + TAKEN_NS <= refused_ns) =>
                {
                    self.verdict.refused_then_later += 1;
                    self.tell("refused_then_later", Some(&self.stamp(client, sequence)), &neighbours(seen, sequence));
                }
                (_, Some(_)) if sent.attempts == 1 => later_ns = Some(sent.first_ns),
                _ => {}
            }
        }
    }

    /// Of a client whose topic got more partitions: it moves no more often than that, and what it sent later came later.
    fn judge_moves(&mut self, client: u32, seen: &Seen<'a>) {
        let Some(growths) = self.book.growths.get(&message::route(client, self.book.routes)) else { return };
        let there = (0_u32..).zip(&seen.first).filter_map(|(sequence, place)| Some((sequence, (*place)?)));
        let (mut moves, mut before) = (0, None);
        // By partition, the message that came last of those so far.
        let mut latest: BTreeMap<i32, (u32, Place)> = BTreeMap::new();
        for (sequence, place) in there {
            moves += u32::from(before.is_some_and(|before| before != place.partition));
            before = Some(place.partition);
            let overtaken = latest.iter().find(|(partition, (_, earlier))| {
                // Within a partition the offsets tell.
                **partition != place.partition && place.appended_ms < earlier.appended_ms
            });
            if let Some((_, (earlier, at))) = overtaken {
                self.verdict.reorder += 1;
                let places = [at.tell(*earlier), place.tell(sequence)];
                self.tell("reorder", Some(&self.stamp(client, sequence)), &places);
            }
            let last = latest.entry(place.partition).or_insert((sequence, place));
            if place.appended_ms >= last.1.appended_ms {
                *last = (sequence, place);
            }
        }
        self.verdict.moved += u64::from(moves > 0);
        if moves > *growths {
            self.verdict.misrouted += 1;
            self.tell("misrouted", Some(&self.stamp(client, 0)), &[format!("moved {moves} times")]);
        }
    }

    fn stamp(&self, client: u32, sequence: u32) -> Stamp {
        Stamp { run: self.book.run, client, sequence, attempt: 0, qos: 0, sent_ns: 0 }
    }

    fn tell(&mut self, what: &'static str, stamp: Option<&Stamp>, places: &[String]) {
        if self.bad.iter().filter(|bad| bad.what == what).count() >= TOLD {
            return;
        }
        let sent = stamp.and_then(|stamp| {
            let page = self.book.clients.get(&stamp.client)?;
            page.messages.get(stamp.sequence as usize)
        });
        let acked_ns = sent.and_then(|sent| if let Answer::Acked(at) = sent.answer { Some(at) } else { None });
        let mut faults = Vec::new();
        if let Some(sent) = sent {
            let until = acked_ns.unwrap_or(u64::MAX);
            let open = |window: &&Window| window.from_ns <= until && window.until_ns >= sent.first_ns;
            faults.extend(self.windows.iter().filter(open).map(|window| window.name.clone()));
        }
        self.bad.push(Bad {
            what,
            client: stamp.map(|stamp| stamp.client),
            sequence: stamp.map(|stamp| stamp.sequence),
            sent_ms: sent.map(|sent| sent.first_ns / 1_000_000),
            acked_ms: acked_ns.map(|at| at / 1_000_000),
            faults,
            places: places.to_vec(),
        });
    }
}

/// Where the messages before and behind a lost one lie.
fn neighbours(seen: &Seen<'_>, sequence: u32) -> Vec<String> {
    let at = sequence as usize;
    let before = seen.first[..at].iter().enumerate().rev().find_map(|(at, place)| Some((at, (*place)?)));
    let behind = seen.first[at..].iter().enumerate().find_map(|(by, place)| Some((at + by, (*place)?)));
    [before, behind].into_iter().flatten().map(|(sequence, place)| place.tell(sequence as u32)).collect()
}

#[cfg(test)]
mod tests;
