//! A progress bar on a terminal, silence off it.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::generator::Gauge;

/// Between two drawings; each costs some 100 µs on a core that is also under test.
const REDRAW: Duration = Duration::from_millis(250);

/// Says on stderr what the harness is doing.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Visible if stderr is a terminal and `wanted`.
    pub fn new(wanted: bool) -> Self {
        let bar = ProgressBar::no_length();
        let visible = wanted && std::io::stderr().is_terminal();
        bar.set_draw_target(if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() });
        Self { bar }
    }

    /// Names a step that has no measure.
    pub fn step(&self, text: impl Into<String>) {
        self.bar.set_style(style("{spinner} {msg}"));
        self.bar.set_message(text.into());
        self.bar.tick();
    }

    /// Draws the gauge against `messages` until the answer is dropped.
    pub fn watch(&self, text: impl Into<String>, messages: u64, gauge: &Arc<Gauge>) -> Watch {
        gauge.done.store(0, Ordering::Relaxed);
        let over = Arc::new(AtomicBool::new(false));
        if self.bar.is_hidden() {
            return Watch { over, thread: None };
        }
        self.bar.set_style(style("{msg} [{bar:40}] {pos}/{len} {per_sec} eta {eta}"));
        self.bar.set_message(text.into());
        self.bar.set_length(messages);
        self.bar.reset();
        let (bar, gauge, until) = (self.bar.clone(), Arc::clone(gauge), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                bar.set_position(gauge.done.load(Ordering::Relaxed));
                std::thread::sleep(REDRAW);
            }
        });
        Watch { over, thread: Some(thread) }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Draws as long as it lives.
pub struct Watch {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
