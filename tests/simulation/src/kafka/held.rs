//! Requests that cannot be answered at once: they wait for replicas, or for a frozen broker to go on.

use aqueduct::clock::Mono;

use super::produce::Answer;

/// A request that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token {
    index: u32,
    generation: u32,
}

/// A request that a frozen broker has not read.
#[derive(Debug)]
pub(super) struct Unread {
    pub(super) head: Vec<u8>,
    pub(super) cuts: Vec<u32>,
    pub(super) batches: Vec<Vec<u8>>,
}

/// What a request waits for.
#[derive(Debug)]
pub(super) enum Waits {
    /// The broker to go on.
    Unread(Unread),
    /// So many partitions to be committed; the broker gives up at `until`.
    Replicas { answer: Answer, open: u32, until: Mono },
}

#[derive(Debug)]
pub(super) struct Held {
    pub(super) broker: usize,
    pub(super) waits: Waits,
}

#[derive(Debug, Default)]
struct Seat {
    generation: u32,
    held: Option<Held>,
}

/// All requests that wait, at all brokers.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    seats: Vec<Seat>,
    free: Vec<u32>,
    /// No request gives up before.
    pub(super) until: Option<Mono>,
}

impl Waiting {
    pub(super) fn insert(&mut self, held: Held) -> Token {
        let index = self.free.pop().unwrap_or_else(|| {
            self.seats.push(Seat::default());
            self.seats.len() as u32 - 1
        });
        if let Waits::Replicas { until, .. } = held.waits {
            self.until = Some(self.until.map_or(until, |earliest| earliest.min(until)));
        }
        let seat = &mut self.seats[index as usize];
        seat.held = Some(held);
        Token { index, generation: seat.generation }
    }

    /// What it waits for now is `held`.
    pub(super) fn replace(&mut self, token: Token, held: Held) {
        if let Waits::Replicas { until, .. } = held.waits {
            self.until = Some(self.until.map_or(until, |earliest| earliest.min(until)));
        }
        let seat = &mut self.seats[token.index as usize];
        assert!(seat.generation == token.generation && seat.held.is_none(), "only what was taken out is replaced");
        seat.held = Some(held);
    }

    pub(super) fn get_mut(&mut self, token: Token) -> Option<&mut Held> {
        let seat = &mut self.seats[token.index as usize];
        seat.held.as_mut().filter(|_| seat.generation == token.generation)
    }

    /// Takes out what is to be put back by [`Self::replace`], or ended by [`Self::end`].
    pub(super) fn take(&mut self, token: Token) -> Option<Held> {
        self.get_mut(token)?;
        self.seats[token.index as usize].held.take()
    }

    /// Nothing waits under `token` any more.
    pub(super) fn end(&mut self, token: Token) {
        let seat = &mut self.seats[token.index as usize];
        if seat.generation == token.generation {
            seat.generation += 1;
            seat.held = None;
            self.free.push(token.index);
        }
    }

    /// The requests that wait at a broker, in the order of their seats.
    pub(super) fn at(&self, broker: usize) -> Vec<Token> {
        self.tokens(|held| held.broker == broker)
    }

    /// The requests that give up by now; sets the earliest time of the others.
    pub(super) fn expired(&mut self, now: Mono, frozen: impl Fn(usize) -> bool) -> Vec<Token> {
        let due =
            |held: &Held| matches!(held.waits, Waits::Replicas { until, .. } if until <= now) && !frozen(held.broker);
        let expired = self.tokens(due);
        let left = self.seats.iter().filter_map(|seat| seat.held.as_ref()).filter(|held| !due(held));
        self.until = left
            .filter_map(|held| match held.waits {
                // A frozen broker looks at its clock when it goes on.
                Waits::Replicas { until, .. } if until > now => Some(until),
                _ => None,
            })
            .min();
        expired
    }

    fn tokens(&self, of: impl Fn(&Held) -> bool) -> Vec<Token> {
        let seats = (0..).zip(&self.seats).filter(|(_, seat)| seat.held.as_ref().is_some_and(&of));
        seats.map(|(index, seat)| Token { index, generation: seat.generation }).collect()
    }
}
