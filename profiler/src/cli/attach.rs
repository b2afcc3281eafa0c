//! `dwell attach`.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};

use super::arguments::{Attach, Follow, ReportArguments};
use super::command::Started;
use super::output;
use super::page::Page;
use super::progress::Line;
use crate::model::Profile;
use crate::session::{Ended, Options, RequestOptions, Session, Tap};
use crate::target::Selector;

/// Runs `dwell attach`.
///
/// # Errors
/// One that says what to do.
pub fn run(attach: Attach) -> Result<()> {
    let requests = attach.requests.options();
    let (profile, written) = match &attach.html {
        Some(path) => {
            let mut page = Page::open(path)?;
            let wanted = Wanted { requests, names_later: false };
            let profile = follow_with(&attach.follow, wanted, Some(&mut page))?;
            page.add_last(&profile);
            let written = page.write(&profile);
            (profile, written)
        }
        None => (follow(&attach.follow, requests)?, Ok(())),
    };
    // Also where the page could not be written: it is all that is left of the measurement.
    output::print(&profile, attach.json, attach.report)?;
    written
}

/// What is wanted of a target.
pub struct Wanted {
    /// How to follow requests, if at all.
    pub requests: Option<RequestOptions>,
    /// Leave functions of programs and libraries without names.
    pub names_later: bool,
}

/// Follows what the command line names, through one window.
///
/// # Errors
/// One that says what to do.
pub fn follow(follow: &Follow, requests: Option<RequestOptions>) -> Result<Profile> {
    follow_with(follow, Wanted { requests, names_later: false }, None)
}

/// The same, and tells somebody meanwhile.
///
/// # Errors
/// One that says what to do.
pub fn follow_with(follow: &Follow, wanted: Wanted, tap: Option<&mut dyn Tap>) -> Result<Profile> {
    let (selector, started) = select(follow)?;
    let options = Options {
        selector,
        children: !follow.no_children,
        duration: follow.duration,
        limits: follow.probes.limits(),
        user_stacks: !follow.probes.no_stacks,
        requests: wanted.requests,
        names_later: wanted.names_later,
        raw_tracepoints: follow.probes.raw_tracepoints,
    };
    window(options, started, tap)
}

fn select(follow: &Follow) -> Result<(Selector, Option<Started>)> {
    let target = &follow.target;
    if let Some(name) = &target.comm {
        return Ok((Selector::Comm(name.clone()), None));
    }
    if let Some(path) = &target.cgroup {
        return Ok((Selector::Cgroup(path.clone()), None));
    }
    if target.all {
        return Ok((Selector::WholeHost, None));
    }
    if let [program, arguments @ ..] = target.command.as_slice() {
        let started = Started::new(program, arguments)?;
        let words = target.command.iter().map(|word| word.to_string_lossy().into_owned());
        let selector = Selector::Command { pid: started.pid(), words: words.collect() };
        return Ok((selector, Some(started)));
    }
    Ok((Selector::Pids(target.pid.clone()), None))
}

/// Follows the target through one window.
///
/// # Errors
/// One that says what to do.
pub fn profile(options: Options) -> Result<Profile> {
    window(options, None, None)
}

fn window(
    options: Options,
    started: Option<Started>,
    tap: Option<&mut dyn Tap>,
) -> Result<Profile> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let mut line = Line::new(options.duration);
        // Before the window, so that a signal at any time ends in a report.
        let stop = stop_signal()?;
        let mut session = Session::attach(options, &mut line)?;
        if let Some(started) = &started {
            started.release()?;
        }
        let ended = session.follow(stop, &mut line, tap).await;
        line.finish();
        let ended = ended?;
        let profile = session.finish().await?;
        if ended == Ended::TargetGone && started.is_none() {
            super::say("the target has ended; the report covers its life up to there");
        }
        if let Some(started) = started
            && let Some(failure) = started.end()?
        {
            super::say(&failure);
        }
        Ok(profile)
    })
}

/// Resolves on SIGINT or SIGTERM.
fn stop_signal() -> Result<impl Future<Output = ()>> {
    let handle = |kind| signal(kind).context("cannot handle signals");
    let mut interrupt = handle(SignalKind::interrupt())?;
    let mut terminate = handle(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Report of a window of the demo.
pub fn print(profile: &Profile, json: bool) -> Result<()> {
    output::print(profile, json, ReportArguments { top: 4, ..ReportArguments::default() })
}

/// Options that differ from the defaults in target and length only.
pub fn options(selector: Selector, duration: Duration) -> Options {
    Options {
        selector,
        children: true,
        duration: Some(duration),
        limits: crate::kernel::Limits::default(),
        user_stacks: true,
        requests: Some(RequestOptions { labels: true, each: None }),
        names_later: false,
        raw_tracepoints: false,
    }
}
