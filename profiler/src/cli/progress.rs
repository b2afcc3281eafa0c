//! What is shown on stderr meanwhile.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::session::Progress;

/// After so long a line shows how far something is.
const PATIENCE: Duration = Duration::from_millis(500);

/// How much of recordings has been read: on a terminal, where that takes a while.
pub struct Reading {
    bar: ProgressBar,
    what: &'static str,
    began: Instant,
}

impl Reading {
    /// Of so many slices.
    pub fn new(slices: usize) -> Self {
        Self::of(slices, "slices read")
    }

    /// Of so many programs and libraries.
    pub fn symbols(files: usize) -> Self {
        Self::of(files, "files of symbols read")
    }

    fn of(steps: usize, what: &'static str) -> Self {
        let bar = ProgressBar::hidden();
        bar.set_length(steps as u64);
        Self { bar, what, began: Instant::now() }
    }

    /// Another one has been dealt with.
    pub fn step(&self) {
        self.bar.inc(1);
        if self.bar.is_hidden() && self.began.elapsed() > PATIENCE {
            let template = format!("{{bar:30}} {{pos}} of {{len}} {}", self.what);
            let style = ProgressStyle::with_template(&template);
            if let Ok(style) = style {
                self.bar.set_style(style.progress_chars("=> "));
            }
            // Draws on a terminal only.
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A line that says that dwell is attached, and on a terminal one that moves.
pub struct Line {
    bar: ProgressBar,
    duration: Option<Duration>,
}

impl Line {
    /// For a window of this length, if it is known.
    pub fn new(duration: Option<Duration>) -> Self {
        Self { bar: ProgressBar::hidden(), duration }
    }

    /// Removes the moving line.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn moving(duration: Option<Duration>) -> ProgressBar {
        let (length, template) = match duration {
            Some(duration) => {
                (duration.as_millis() as u64, "{bar:30} {msg} (Ctrl-C ends and reports)")
            }
            None => (0, "{spinner} {msg} (Ctrl-C ends and reports)"),
        };
        // Draws on a terminal only.
        let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
        match ProgressStyle::with_template(template) {
            Ok(style) => bar.with_style(style.progress_chars("=> ")),
            Err(_) => bar,
        }
    }
}

impl Progress for Line {
    fn attached(&mut self, threads: usize, processes: usize) {
        let plural =
            |n: usize, one: &str, many: &str| format!("{n} {}", if n == 1 { one } else { many });
        super::say(&format!(
            "attached to {} in {}",
            plural(threads, "thread", "threads"),
            plural(processes, "process", "processes")
        ));
        self.bar = Self::moving(self.duration);
    }

    fn elapsed(&mut self, elapsed: Duration) {
        let seconds = elapsed.as_secs();
        match self.duration {
            Some(duration) => {
                self.bar.set_position(elapsed.as_millis() as u64);
                self.bar.set_message(format!("{seconds} of {:.0} s", duration.as_secs_f64()));
            }
            None => {
                self.bar.tick();
                self.bar.set_message(format!("{seconds} s"));
            }
        }
    }
}
