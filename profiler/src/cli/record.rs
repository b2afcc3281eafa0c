//! `dwell record`.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow};

use super::arguments::{Record, ReportArguments};
use super::attach::{self, Wanted};
use super::{output, say};
use crate::analyze::{SliceLatency, Threshold};
use crate::capture::{Options, Summary, Writer};
use crate::model::{Nanos, Profile};
use crate::session::Tap;

/// What is kept for copies of spikes, where nothing else is asked for.
const KEEP_BEFORE_SPIKES: Duration = Duration::from_secs(60);

/// Runs `dwell record`.
///
/// # Errors
/// One that says what to do.
pub fn run(record: &Record) -> Result<()> {
    let keep = record.keep.or(record.on_slow.map(|_| KEEP_BEFORE_SPIKES));
    let names_later = record.no_symbols;
    let options = Options { slice: record.slice, keep, names_later };
    // Before anything is measured, which would be in vain.
    let writer = Writer::create(&record.output, options)?;
    let spikes = record.on_slow.map(|slow| Spikes::new(slow, &record.output, keep));
    let mut recorder = Recorder::start(writer, record.slice, spikes);
    let wanted = Wanted { requests: record.requests.options(), names_later };
    let followed = attach::follow_with(&record.follow, wanted, Some(&mut recorder));
    let profile = match followed {
        Ok(profile) => profile,
        Err(error) => return Err(failed(recorder, &record.output, error)),
    };
    let wants_report = record.report || record.json;
    let summary = recorder.finish(Some(profile.clone()))?;
    tell(&record.output, summary);
    if wants_report {
        return output::print(&profile, record.json, ReportArguments::default());
    }
    Ok(())
}

/// Leaves what was written, and no file where that is nothing.
fn failed(recorder: Recorder, path: &Path, error: anyhow::Error) -> anyhow::Error {
    match recorder.finish(None) {
        Ok(summary) if summary.slices == 0 => {
            let _gone = std::fs::remove_file(path);
            error
        }
        Ok(summary) => {
            tell(path, summary);
            error
        }
        // What the writer has to say is the cause.
        Err(cause) => cause,
    }
}

fn tell(path: &Path, summary: Summary) {
    let Summary { slices, length, bytes } = summary;
    say(&format!(
        "wrote {}: {:.1} s in {slices} slices, {} kB; `dwell report {0}` shows it",
        path.display(),
        length.as_secs_f64(),
        bytes.div_ceil(1000),
    ));
}

/// Writes on a thread of its own: a slow disk must not keep the probes' records waiting.
struct Recorder {
    every: Duration,
    profiles: Option<SyncSender<Profile>>,
    writer: Option<JoinHandle<Result<Summary>>>,
}

impl Recorder {
    fn start(writer: Writer, every: Duration, spikes: Option<Spikes>) -> Self {
        let (profiles, received) = sync_channel(1);
        let writer = std::thread::spawn(move || write_all(writer, &received, spikes));
        Self { every, profiles: Some(profiles), writer: Some(writer) }
    }

    /// Writes the last profile, and waits until all is written.
    fn finish(mut self, last: Option<Profile>) -> Result<Summary> {
        if let (Some(profiles), Some(last)) = (self.profiles.take(), last) {
            // A writer that has failed says so itself.
            let _failed = profiles.send(last);
        }
        let writer = self.writer.take().ok_or_else(|| anyhow!("the recording has ended"))?;
        writer.join().map_err(|_| anyhow!("the writing thread panicked"))?
    }
}

impl Tap for Recorder {
    fn every(&self) -> Duration {
        self.every
    }

    fn take(&mut self, profile: Profile) -> Result<()> {
        let Some(profiles) = &self.profiles else { return Ok(()) };
        match profiles.try_send(profile) {
            // Each profile holds everything so far: the next slice is a longer one, and nothing is lost.
            Ok(()) | Err(TrySendError::Full(_)) => Ok(()),
            Err(TrySendError::Disconnected(_)) => Err(anyhow!("the recording has ended")),
        }
    }
}

fn write_all(
    mut writer: Writer,
    profiles: &Receiver<Profile>,
    mut spikes: Option<Spikes>,
) -> Result<Summary> {
    for profile in profiles {
        let is_due = spikes.as_mut().is_some_and(|spikes| spikes.is_due(&profile));
        writer.add(profile)?;
        if let Some(spikes) = spikes.as_mut().filter(|_| is_due) {
            spikes.copy(&writer);
        }
    }
    if let Some(spikes) = spikes.as_mut().filter(|spikes| spikes.seen_at.is_some()) {
        spikes.copy(&writer);
    }
    Ok(writer.summary())
}

/// Copies of the recording at most: a system that is always slow would fill any disk.
const MOST_COPIES: u32 = 20;

/// Makes copies of a recording when requests are slow.
struct Spikes {
    slow: Threshold,
    latency: SliceLatency,
    path: PathBuf,
    /// How long the recording goes on after the first slow slice.
    after: Nanos,
    seen_at: Option<Nanos>,
    /// Not before then, so that copies do not overlap.
    next: Nanos,
    copies: u32,
}

impl Spikes {
    fn new(slow: Threshold, path: &Path, keep: Option<Duration>) -> Self {
        let after = keep.unwrap_or(KEEP_BEFORE_SPIKES) / 3;
        Self {
            slow,
            latency: SliceLatency::default(),
            path: path.to_owned(),
            after: Nanos(after.as_nanos() as u64),
            seen_at: None,
            next: Nanos(0),
            copies: 0,
        }
    }

    /// Whether a spike is over, or has lasted long enough to be copied.
    fn is_due(&mut self, profile: &Profile) -> bool {
        let now = profile.window.end;
        if self.latency.is_slow(profile, self.slow) && self.seen_at.is_none() && now >= self.next {
            self.seen_at = Some(now);
            say(&format!("requests are slow ({}); a copy follows", self.slow));
        }
        self.seen_at.is_some_and(|seen| now.since(seen) >= self.after)
    }

    fn copy(&mut self, writer: &Writer) {
        let Some(seen) = self.seen_at.take() else { return };
        self.next = seen + self.after + self.after;
        if self.copies >= MOST_COPIES {
            say(&format!("{MOST_COPIES} copies of spikes are enough; no more will be made"));
            self.next = Nanos(u64::MAX);
            return;
        }
        let name = self.path.file_stem().unwrap_or_default().to_string_lossy();
        let path = self.path.with_file_name(format!("{name}-{}.dwell", date()));
        match writer.copy(&path) {
            Ok(()) => {
                self.copies += 1;
                say(&format!("wrote {}", path.display()));
            }
            // The recording itself goes on.
            Err(error) => say(&format!("{error:#}")),
        }
    }
}

/// `20261125T160300Z`.
fn date() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seconds = libc::time_t::try_from(now.unwrap_or_default().as_secs()).unwrap_or(0);
    // SAFETY: all-zero bytes are a valid tm.
    let mut date: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both are valid pointers.
    unsafe { libc::gmtime_r(&raw const seconds, &raw mut date) };
    format!(
        "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
        date.tm_year + 1900,
        date.tm_mon + 1,
        date.tm_mday,
        date.tm_hour,
        date.tm_min,
        date.tm_sec
    )
}
