//! Chromium without a window, driven by the Chrome DevTools Protocol
//! (chromedevtools.github.io/devtools-protocol) over a pipe.

use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::Bounded;

/// Longest time until a command is answered, and until a page is there.
const PATIENCE: Duration = Duration::from_secs(60);

/// The protocol goes through descriptors 3 and 4; here they are stdin and stdout.
const START: &str = "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1";

/// The last four keep it from asking hosts for things of its own.
const OPTIONS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
];

/// A running browser with one page. It ends when dropped.
pub struct Browser {
    process: Bounded,
    commands: ChildStdin,
    answers: Receiver<Value>,
    session: String,
    number: u64,
    /// What has happened since the page was opened.
    events: Vec<Value>,
    _folder: TempDir,
}

impl Browser {
    /// Starts it; `tmp` is `env!("CARGO_TARGET_TMPDIR")`.
    pub fn start(tmp: &str) -> Result<Self> {
        let folder = tempfile::tempdir_in(tmp).context("no folder for the browser")?;
        let mut command = Command::new("sh");
        command.args(["-c", START, "chromium"]).args(OPTIONS);
        command.arg(format!("--user-data-dir={}", folder.path().display()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = Bounded::spawn(&mut command)?;
        let commands = process.child().stdin.take().context("no stdin")?;
        let output = process.child().stdout.take().context("no stdout")?;
        let answers = read(output);
        let (session, number, events) = (String::new(), 0, Vec::new());
        let mut browser =
            Self { process, commands, answers, session, number, events, _folder: folder };
        let page = browser.ask("Target.createTarget", &json!({"url": "about:blank"}))?;
        let attach = json!({"targetId": page["targetId"], "flatten": true});
        let attached = browser.ask("Target.attachToTarget", &attach)?;
        browser.session = attached["sessionId"].as_str().context("no session")?.to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.ask(&format!("{domain}.enable"), &json!({}))?;
        }
        Ok(browser)
    }

    /// Sends a command, and waits for its result.
    pub fn ask(&mut self, method: &str, parameters: &Value) -> Result<Value> {
        self.number += 1;
        let mut command = json!({"id": self.number, "method": method, "params": parameters});
        if !self.session.is_empty() {
            command["sessionId"] = json!(self.session);
        }
        self.commands.write_all(command.to_string().as_bytes())?;
        self.commands.write_all(b"\0")?;
        loop {
            let answer = self.next().with_context(|| format!("no answer to {method}"))?;
            if answer["id"] == self.number {
                ensure!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return Ok(answer["result"].clone());
            }
            self.events.push(answer);
        }
    }

    fn next(&mut self) -> Result<Value> {
        self.answers.recv_timeout(PATIENCE).context("the browser says nothing")
    }

    /// Opens a file, and waits until all of it is there and drawn.
    pub fn open(&mut self, file: &Path) -> Result<()> {
        self.events.clear();
        let url = format!("file://{}", file.display());
        self.ask("Page.navigate", &json!({"url": url}))?;
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = self.next().context("the page does not load")?;
            self.events.push(event);
        }
        Ok(())
    }

    /// The value of an expression.
    pub fn value(&mut self, expression: &str) -> Result<Value> {
        let what = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let result = self.ask("Runtime.evaluate", &what)?;
        if !result["exceptionDetails"].is_null() {
            bail!("{expression}: {}", result["exceptionDetails"]);
        }
        Ok(result["result"]["value"].clone())
    }

    /// The text of an expression.
    pub fn text(&mut self, expression: &str) -> Result<String> {
        let value = self.value(expression)?;
        Ok(value.as_str().with_context(|| format!("{expression} is no text: {value}"))?.to_owned())
    }

    /// Presses and releases a key: `ArrowDown`, `Enter`, or a character.
    pub fn press(&mut self, key: &str) -> Result<()> {
        let text = if key.chars().count() == 1 { key } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let event = json!({"type": kind, "key": key, "text": if kind == "keyDown" { text } else { "" }});
            self.ask("Input.dispatchKeyEvent", &event)?;
        }
        Ok(())
    }

    /// Whether the page believes that its reader likes it dark.
    pub fn dark(&mut self, is_dark: bool) -> Result<()> {
        let value = if is_dark { "dark" } else { "light" };
        let feature = json!({"name": "prefers-color-scheme", "value": value});
        self.ask("Emulation.setEmulatedMedia", &json!({"features": [feature]}))?;
        Ok(())
    }

    /// Errors of scripts, and what the page's policy has refused.
    pub fn complaints(&mut self) -> Result<Vec<String>> {
        // What has been said before is read with the answer.
        self.value("0")?;
        let is_error = |event: &&Value| match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Runtime.consoleAPICalled") => event["params"]["type"] == "error",
            Some("Log.entryAdded") => event["params"]["entry"]["level"] == "error",
            _ => false,
        };
        Ok(self.events.iter().filter(is_error).map(|event| event["params"].to_string()).collect())
    }

    /// What the page has asked for, itself included.
    pub fn requested(&self) -> Vec<String> {
        let sent = self.events.iter().filter(|one| one["method"] == "Network.requestWillBeSent");
        sent.filter_map(|one| one["params"]["request"]["url"].as_str()).map(str::to_owned).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.process.end(libc::SIGTERM, Duration::from_secs(5));
    }
}

/// Answers and events, each ended by a zero byte.
fn read(output: ChildStdout) -> Receiver<Value> {
    let (sender, answers) = channel();
    thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut bytes = Vec::new();
        while output.read_until(0, &mut bytes).is_ok_and(|length| length > 0) {
            let text = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
            let Ok(value) = serde_json::from_slice(text) else { break };
            if sender.send(value).is_err() {
                break;
            }
            bytes.clear();
        }
    });
    answers
}
