//! A test program that stands still ends and says where, instead of keeping everybody waiting.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::Duration;

/// Longer than any test program takes on a machine with much else to do.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// What each thread began last, by its name, which is the test's.
static DOING: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());

/// Notes what this thread is about to do. The first call starts the clock of this test program.
pub fn doing(what: &str) {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| drop(thread::spawn(watch)));
    let name = thread::current().name().unwrap_or("a thread").to_owned();
    notes().insert(name, what.to_owned());
}

fn watch() {
    thread::sleep(PATIENCE);
    let mut stderr = std::io::stderr();
    let _ = writeln!(stderr, "this test program has not ended within {PATIENCE:?}; what its threads began last:");
    for (thread, what) in notes().iter() {
        let _ = writeln!(stderr, "  {thread}: {what}");
    }
    std::process::exit(1);
}

fn notes() -> MutexGuard<'static, BTreeMap<String, String>> {
    DOING.lock().unwrap_or_else(PoisonError::into_inner)
}
