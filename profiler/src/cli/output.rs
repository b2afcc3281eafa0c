//! Results go to stdout.

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::Result;

use crate::analyze::{By, Compared, Series, Spike};
use crate::model::Profile;
use crate::view::{self, DocumentOptions, Moment, TextOptions};

use super::arguments::ReportArguments;

/// Width where there is no terminal to ask, and the least that is made use of.
const WIDTH: usize = 80;

/// Bytes of a document that go out at a time.
const BUFFER: usize = 64 << 10;

/// Prints a profile.
///
/// # Errors
/// When stdout cannot be written.
pub fn print(profile: &Profile, json: bool, report: ReportArguments) -> Result<()> {
    if json {
        return write_document(profile, DocumentOptions::default());
    }
    write(&view::render(profile, &text_options(report)))
}

/// Writes the document.
///
/// # Errors
/// When stdout cannot be written.
pub fn write_document(profile: &Profile, options: DocumentOptions) -> Result<()> {
    to_stdout(|out| document_to(out, profile, options))
}

/// Writes the document as it is made, not from memory: it has megabytes where there are thousands
/// of threads. Making it cannot fail, so only a reader that goes away, or a full disk, cuts it.
///
/// # Errors
/// When it cannot be written.
pub fn document_to(
    out: &mut dyn io::Write,
    profile: &Profile,
    options: DocumentOptions,
) -> io::Result<()> {
    let mut out = io::BufWriter::with_capacity(BUFFER, out);
    serde_json::to_writer(&mut out, &view::document(profile, options))?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Writes another document.
///
/// # Errors
/// When stdout cannot be written.
pub fn write_json(document: &impl serde::Serialize) -> Result<()> {
    let mut bytes = serde_json::to_vec(document)?;
    bytes.push(b'\n');
    to_stdout(|out| out.write_all(&bytes))
}

/// Prints recordings beside one another.
///
/// # Errors
/// When stdout cannot be written.
pub fn print_comparison(all: &[Series], compared: &Compared) -> Result<()> {
    write(&view::render_comparison(all, compared, &text_options(ReportArguments::default())))
}

/// Prints when requests were slowest, and what was different then.
///
/// # Errors
/// When stdout cannot be written.
pub fn print_spike(
    all: &[Series],
    compared: &Compared,
    spike: Spike,
    ends: [Moment; 2],
) -> Result<()> {
    let options = text_options(ReportArguments::default());
    write(&view::render_spike(all, compared, spike, ends, &options))
}

/// Prints the report on locks.
///
/// # Errors
/// When stdout cannot be written.
pub fn print_locks(profile: &Profile, by: By, report: ReportArguments) -> Result<()> {
    write(&view::render_locks(profile, by, &text_options(report)))
}

/// Prints the report on requests.
///
/// # Errors
/// When stdout cannot be written.
pub fn print_requests(
    profile: &Profile,
    slowest: Option<usize>,
    report: ReportArguments,
) -> Result<()> {
    let options = text_options(report);
    let slowest = slowest.unwrap_or(options.slowest);
    write(&view::render_requests(profile, &TextOptions { slowest, ..options }))
}

/// Prints the report on chains of waiting.
///
/// # Errors
/// When stdout cannot be written.
pub fn print_graph(profile: &Profile, top: usize) -> Result<()> {
    let report = ReportArguments { top, ..ReportArguments::default() };
    write(&view::render_graph(profile, &text_options(report)))
}

fn text_options(report: ReportArguments) -> TextOptions {
    let terminal = io::stdout().is_terminal();
    TextOptions {
        width: if terminal { terminal_width().unwrap_or(WIDTH) } else { WIDTH },
        color: terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        threads: report.threads,
        top: report.top,
        slowest: TextOptions::default().slowest,
        all_frames: report.full_stacks,
    }
}

/// Writes to stdout.
///
/// # Errors
/// When it cannot be written; see [`is_closed_pipe`].
pub fn write(text: &str) -> Result<()> {
    to_stdout(|out| out.write_all(text.as_bytes()))
}

/// Lets `write` write to stdout.
///
/// # Errors
/// As [`write`].
pub fn to_stdout(write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>) -> Result<()> {
    let mut stdout = io::stdout().lock();
    write(&mut stdout).and_then(|()| stdout.flush()).map_err(not_written)
}

fn not_written(error: io::Error) -> anyhow::Error {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return anyhow::Error::new(error);
    }
    anyhow::Error::new(error).context("cannot write the report to stdout")
}

/// Whether the reader of our output has gone away: it has seen enough.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

fn terminal_width() -> Option<usize> {
    // SAFETY: all-zero bytes are a valid winsize.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: a valid pointer to what this request fills in.
    let result = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    (result == 0 && size.ws_col > 0).then_some(usize::from(size.ws_col))
}
