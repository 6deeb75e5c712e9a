//! Runs a target over its corpus and over what the mutator makes of it.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::corpus;
use crate::mutator::Mutator;
use crate::target::{self, Target};
use crate::trail;

/// The most inputs that are mutated further; beyond that, what is new is not kept.
const POOL_MAX: usize = 4096;
/// Attempts to make a failing input smaller.
const SHRINKS_MAX: usize = 20_000;

thread_local! {
    /// The target and the input under way, for who cannot come back from a panic.
    static UNDER_WAY: RefCell<(&'static str, Vec<u8>)> = const { RefCell::new(("", Vec::new())) };
}

/// What a run without a failure has to say.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// Inputs executed, the corpus included.
    pub executions: u64,
    /// Wall time of all of it.
    pub elapsed: Duration,
    /// Wall time of the slowest input.
    pub slowest: Duration,
    /// Inputs that are mutated further: the corpus, and those that led somewhere new.
    pub pool: usize,
}

/// A broken promise.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The input, made as small as it still fails.
    pub input: Vec<u8>,
    /// What the panic said.
    pub message: String,
    /// How many executions came before it.
    pub after: u64,
}

/// Executes the corpus, then mutations until there were `executions` in all.
///
/// # Errors
/// The first input that panics, made small.
pub fn run(target: &Target, seed: u64, executions: u64) -> Result<Run, Failure> {
    trail::forget();
    let mut pool: Vec<Vec<u8>> = corpus::load(target).into_iter().map(|(_, bytes)| bytes).collect();
    let start = Instant::now();
    let mut done = Run { executions: 0, elapsed: Duration::ZERO, slowest: Duration::ZERO, pool: 0 };
    for input in &pool {
        execute(target, input, &mut done)?;
    }
    trail::take_fresh();
    let mut mutator = Mutator::new(target, seed);
    let mut input = Vec::new();
    while done.executions < executions {
        mutator.mutate(&pool, &mut input);
        execute(target, &input, &mut done)?;
        if trail::take_fresh() && pool.len() < POOL_MAX {
            pool.push(input.clone());
        }
    }
    Ok(Run { elapsed: start.elapsed(), pool: pool.len(), ..done })
}

fn execute(target: &Target, input: &[u8], done: &mut Run) -> Result<(), Failure> {
    let start = Instant::now();
    let result = attempt(target, input);
    done.executions += 1;
    done.slowest = done.slowest.max(start.elapsed());
    result.map_err(|message| {
        let (input, message) = shrink(target, input.to_vec(), message);
        Failure { input, message, after: done.executions - 1 }
    })
}

fn attempt(target: &Target, input: &[u8]) -> Result<(), String> {
    if cfg!(panic = "abort") {
        UNDER_WAY.with_borrow_mut(|(name, bytes)| {
            *name = target.name;
            input.clone_into(bytes);
        });
    }
    panic::catch_unwind(AssertUnwindSafe(|| (target.run)(input))).map_err(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without a text").to_owned()
    })
}

/// Leaves out whatever can be left out while it still fails, in pieces that get smaller. Shrinking prints nothing: the process's
/// panic hook is quiet meanwhile.
fn shrink(target: &Target, mut input: Vec<u8>, mut message: String) -> (Vec<u8>, String) {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let mut left = SHRINKS_MAX;
    let mut piece = input.len() / 2;
    while piece > 0 && left > 0 {
        let mut at = 0;
        while at + piece <= input.len() && left > 0 {
            left -= 1;
            let smaller = [&input[..at], &input[at + piece..]].concat();
            match attempt(target, &smaller) {
                Err(said) => (input, message) = (smaller, said),
                Ok(()) => at += piece,
            }
        }
        piece /= 2;
    }
    panic::set_hook(hook);
    (input, message)
}

/// Where a panic is the end of the process, its hook keeps the input: as it came, for there is nobody left to make it smaller.
pub fn keep_inputs_before_abort() {
    if !cfg!(panic = "abort") {
        return;
    }
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        hook(panic);
        let (name, input) = UNDER_WAY.with_borrow(Clone::clone);
        let Some(target) = target::find(name) else { return };
        let failure = Failure { input, message: panic.to_string(), after: 0 };
        match failure.save(target) {
            Ok(path) => eprintln!("{name}: FAILED\ninput: {}", path.display()),
            Err(error) => eprintln!("{name}: FAILED; the input is lost: {error}"),
        }
    }));
}

impl Failure {
    /// Keeps the input in the corpus, where it is tried first from now on.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, target: &Target) -> io::Result<PathBuf> {
        let path = corpus::folder(target).join(format!("failed-{:08x}", crc32c::crc32c(&self.input)));
        fs::write(&path, &self.input)?;
        Ok(path)
    }
}
