//! No wake-up is lost, in any interleaving.
//!
//! Setup: one sleeper, producers, a queue that is no stronger than it must be (a push is a release, a look is an acquire), and a bell in
//! the place of the eventfd. Action: loom runs every interleaving, with every value that a relaxed load may give. Expectation: never
//! does the sleeper sleep with something in its queue and nobody left to ring. Variants with one step left out must be found to do so,
//! or the check would prove nothing.

use std::sync::atomic::AtomicBool as Verdict;

use loom::model::Builder;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use loom::thread;

use super::{Flag, SleepFlag};

/// Interleavings with more switches away from a thread that could go on are left out: two find every variant below.
const PREEMPTIONS_MAX: usize = 3;

/// loom's flag; without its fences where `FENCE` is false.
#[derive(Debug, Default)]
struct Modelled<const FENCE: bool>(AtomicBool);

impl<const FENCE: bool> Flag for Modelled<FENCE> {
    fn fence() {
        if FENCE {
            fence(Ordering::SeqCst);
        }
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn swap(&self, value: bool) -> bool {
        self.0.swap(value, Ordering::AcqRel)
    }
}

struct World<F> {
    flag: SleepFlag<F>,
    /// How often the bell was rung: a counter, as an eventfd is, so a ring before the wait is not lost.
    rings: AtomicUsize,
    pushed: AtomicUsize,
    /// Producers that will do nothing more.
    ended: AtomicUsize,
}

impl<F: Flag> World<F> {
    fn produce(&self, without: Without) {
        let too_early = without == Without::PushFirst && self.flag.must_wake();
        self.pushed.fetch_add(1, Ordering::Release);
        if too_early || without != Without::PushFirst && self.flag.must_wake() {
            self.rings.fetch_add(1, Ordering::Release);
        }
        self.ended.fetch_add(1, Ordering::Release);
    }

    /// Waits until the bell was rung more often than was `heard`. False: nobody is left to ring it.
    fn await_bell(&self, heard: &mut usize, producers: usize) -> bool {
        loop {
            let nobody_left = self.ended.load(Ordering::Acquire) == producers;
            let rings = self.rings.load(Ordering::Acquire);
            if rings > *heard {
                *heard = rings;
                return true;
            }
            if nobody_left {
                return false;
            }
            thread::yield_now();
        }
    }
}

/// What is left out of the protocol.
#[derive(Clone, Copy, PartialEq)]
enum Without {
    Nothing,
    SecondLook,
    PushFirst,
}

/// One item from each of `producers`, and a sleeper that ends when it has them all. Whether it overslept.
fn oversleeps<F: Flag + Send + Sync + 'static>(producers: usize, without: Without) -> bool {
    let world = Arc::new(World {
        flag: SleepFlag::<F>::default(),
        rings: AtomicUsize::new(0),
        pushed: AtomicUsize::new(0),
        ended: AtomicUsize::new(0),
    });
    let producer = |_| {
        let world = Arc::clone(&world);
        thread::spawn(move || world.produce(without))
    };
    let threads: Vec<_> = (0..producers).map(producer).collect();
    let (mut taken, mut heard, mut awake) = (0, 0, true);
    while taken < producers && awake {
        let pushed = world.pushed.load(Ordering::Acquire);
        if pushed > taken {
            taken = pushed;
            continue;
        }
        let idle = || without == Without::SecondLook || world.pushed.load(Ordering::Acquire) == taken;
        awake = world.flag.sleep(idle, |may_sleep| !may_sleep || world.await_bell(&mut heard, producers));
    }
    threads.into_iter().for_each(|thread| thread.join().expect("it ends"));
    !awake
}

/// Whether there is an interleaving in which the sleeper oversleeps.
fn can_oversleep<F: Flag + Send + Sync + 'static>(producers: usize, without: Without) -> bool {
    let verdict = std::sync::Arc::new(Verdict::new(false));
    let seen = std::sync::Arc::clone(&verdict);
    let mut model = Builder::new();
    model.preemption_bound = Some(PREEMPTIONS_MAX);
    model.check(move || {
        seen.fetch_or(oversleeps::<F>(producers, without), std::sync::atomic::Ordering::Relaxed);
    });
    verdict.load(std::sync::atomic::Ordering::Relaxed)
}

#[test]
fn no_wake_up_is_lost() {
    assert!(!can_oversleep::<Modelled<true>>(1, Without::Nothing));
    assert!(!can_oversleep::<Modelled<true>>(2, Without::Nothing));
}

#[test]
fn without_the_second_look_one_is() {
    assert!(can_oversleep::<Modelled<true>>(1, Without::SecondLook));
}

#[test]
fn with_the_flag_looked_at_before_the_push_one_is() {
    assert!(can_oversleep::<Modelled<true>>(1, Without::PushFirst));
}

#[test]
fn without_the_fences_one_is() {
    assert!(can_oversleep::<Modelled<false>>(1, Without::Nothing));
}
