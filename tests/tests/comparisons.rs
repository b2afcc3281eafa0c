//! Comparisons of recordings name what was changed, and nothing where nothing was.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use dwell_tests::dwell::Dwell;
use dwell_tests::machine::Machine;
use dwell_tests::recording::{Folder, compare, record};
use dwell_tests::requests::{Client, Server};
use dwell_tests::{need, need_program, need_root};
use serde_json::Value;

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const TMP: &str = env!("CARGO_TARGET_TMPDIR");

/// A server that is recorded while it answers requests at a steady rate.
struct Case<'a> {
    folder: &'a Folder,
    /// Requests a second: kept to by the client, or what the server is able to.
    rate: u32,
    is_paced: bool,
    connections: u32,
    seconds: u32,
}

impl<'a> Case<'a> {
    fn new(folder: &'a Folder) -> Self {
        Self { folder, rate: 400, is_paced: true, connections: 16, seconds: 8 }
    }

    fn record(&self, name: &str, options: &[&str]) -> Result<PathBuf> {
        let server = Server::tcp(WORKLOAD, options)?;
        let (rate, connections) = (self.rate.to_string(), self.connections.to_string());
        let requests = (self.rate * (self.seconds + 3)).to_string();
        let mut load =
            vec!["--connections", &connections, "--threads", "2", "--requests", &requests];
        if self.is_paced {
            load.extend(["--rate", &rate]);
        }
        let client = Client::start(WORKLOAD, server.place(), &load)?;
        let driving = thread::spawn(move || client.drive());
        let file = self.folder.path(name);
        let length = format!("{}s", self.seconds);
        let options = ["-d", &length, "--slice", "250ms"];
        record(&[server.pid()], &file, &options)?.finish(Duration::from_secs(60))?.document()?;
        driving.join().map_err(|_| anyhow::anyhow!("the client panicked"))??;
        Ok(file)
    }
}

/// The only pair of a comparison of two.
fn pair(files: &[&PathBuf; 2]) -> Result<Value> {
    let document = compare(files)?;
    ensure!(document["schema"] == "dwell-compare/1" && document["of_requests"] == true);
    Ok(document["pairs"][0].clone())
}

fn outcome(pair: &Value) -> &str {
    pair["outcome"].as_str().unwrap_or_default()
}

/// Whether one of the causes is this part, or is explained by this.
fn names(pair: &Value, text: &str) -> bool {
    let causes = pair["causes"].as_array().cloned().unwrap_or_default();
    let of = |cause: &Value| format!("{} {}", cause["part"], cause["detail"]);
    causes.iter().any(|cause| of(cause).contains(text))
}

/// 21 pairs of seven recordings of the same; at most one of them may seem to differ.
#[test]
fn nothing_changed() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let folder = Folder::new(TMP)?;
    let case = Case { seconds: 5, ..Case::new(&folder) };
    let plan = ["--model", "handoff", "--plan", "spin:200", "--plan", "lock:2000:20"];
    let files: Vec<PathBuf> =
        (0..7).map(|run| case.record(&format!("{run}.dwell"), &plan)).collect::<Result<_>>()?;
    let mut alarms = Vec::new();
    for (place, before) in files.iter().enumerate() {
        for after in &files[place + 1..] {
            let pair = pair(&[before, after])?;
            if outcome(&pair) != "same" {
                alarms.push(pair["whole"].to_string() + &pair["causes"].to_string());
            }
        }
    }
    ensure!(alarms.len() <= 1, "{} of 21: {alarms:#?}", alarms.len());
    // Nor is one of them an outlier.
    let document = compare(&files)?;
    ensure!(document["outlier"].is_null() || alarms.len() == 1, "{}", document["outlier"]);
    Ok(())
}

#[test]
fn a_lock_is_held_twice_as_long() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let folder = Folder::new(TMP)?;
    let case = Case::new(&folder);
    let plan = |hold: &str| format!("lock:{hold}:20");
    let before = case.record("before.dwell", &["--model", "threads", "--plan", &plan("4000")])?;
    let after = case.record("after.dwell", &["--model", "threads", "--plan", &plan("8000")])?;
    let pair = pair(&[&before, &after])?;
    ensure!(outcome(&pair) == "worse" && names(&pair, "take_ledger"), "{}", pair["causes"]);
    ensure!(pair["causes"][0]["part"]["name"] == "futex", "{}", pair["causes"]);
    // Fixing it is seen as well.
    let back = self::pair(&[&after, &before])?;
    ensure!(outcome(&back) == "better" && names(&back, "take_ledger"), "{}", back["causes"]);
    Ok(())
}

/// The box of a function in a flame graph of a change: the change, and its colour. The file is an image, too.
fn box_of(files: &[&PathBuf; 2], function: &str, graph: &Path) -> Result<(String, [u8; 3])> {
    let mut arguments: Vec<&OsStr> = files.iter().map(|file| file.as_os_str()).collect();
    arguments.extend([OsStr::new("--flamegraph"), graph.as_os_str()]);
    let report = Dwell::text("compare", &arguments)?;
    ensure!(report.contains("in "), "no report: {report}");
    let image = graph.with_extension("png");
    let converter = need::program("rsvg-convert").context("no rsvg-convert")?;
    let converted = Command::new(converter).arg(graph).arg("-o").arg(&image).status()?;
    ensure!(converted.success() && fs::read(&image)?.starts_with(b"\x89PNG"), "{converted}");
    let svg = fs::read_to_string(graph)?;
    let start = format!("<title>{function} ");
    let (_, found) = svg.split_once(&start).with_context(|| format!("no {function}: {svg}"))?;
    let (change, _) = found.split_once(" (").context("no figures")?;
    let (_, color) = found.split_once("rgb(").context("no colour")?;
    let (color, _) = color.split_once(')').context("no end of a colour")?;
    let color: Vec<u8> = color.split(',').map(str::parse).collect::<Result<_, _>>()?;
    Ok((change.to_owned(), color.try_into().map_err(|_| anyhow::anyhow!("not three"))?))
}

#[test]
fn a_flame_graph_shows_the_change() -> Result<()> {
    need_root!();
    need_program!("rsvg-convert");
    let _machine = Machine::take()?;
    let folder = Folder::new(TMP)?;
    let case = Case { seconds: 4, ..Case::new(&folder) };
    let record = |name: &str, hold: &str| {
        let plan = format!("lock:{hold}:20");
        case.record(name, &["--model", "threads", "--plan", &plan])
    };
    // A request comes every 2.5 ms: a lock that is held for less may have nobody wait for it.
    let (before, after) = (record("before.dwell", "4000")?, record("after.dwell", "16000")?);
    let graph = folder.path("change.svg");
    let (change, [red, green, blue]) = box_of(&[&before, &after], "take_ledger", &graph)?;
    ensure!(change.starts_with('+') && red == 255, "{change}, {red} of red");
    // Most of it is new.
    ensure!(green == blue && green < 175, "{change}, {green} of green, {blue} of blue");
    let (change, [red, _, blue]) = box_of(&[&after, &before], "take_ledger", &graph)?;
    ensure!(change.starts_with('−') && blue == 255 && red < 175, "{change}, {red} of red");
    // The same is the same, to the last box.
    let (change, color) = box_of(&[&after, &after], "take_ledger", &graph)?;
    ensure!(change == "±0" && color == [250; 3], "{change}, {color:?}");
    Ok(())
}

#[test]
fn a_peer_answers_later() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let folder = Folder::new(TMP)?;
    let case = Case::new(&folder);
    let record = |name: &str, delay: &str| -> Result<(PathBuf, u16)> {
        let peer = Server::tcp(WORKLOAD, &["--plan", &format!("sleep:{delay}")])?;
        let plan = format!("calls:{}", peer.port()?);
        Ok((case.record(name, &["--model", "threads", "--plan", &plan])?, peer.port()?))
    };
    let (before, _) = record("before.dwell", "500")?;
    let (after, port) = record("after.dwell", "2500")?;
    let pair = pair(&[&before, &after])?;
    ensure!(outcome(&pair) == "worse", "{}", pair["whole"]);
    ensure!(names(&pair, &format!("127.0.0.1:{port}")), "no {port}: {}", pair["causes"]);
    let by = pair["whole"]["after_ns"].as_f64().context("no mean")?
        - pair["whole"]["before_ns"].as_f64().context("no mean")?;
    ensure!((1.8e6..2.4e6).contains(&by), "2 ms were added, {by} ns were found");
    Ok(())
}

#[test]
fn fewer_workers() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let folder = Folder::new(TMP)?;
    // Each client asks again as soon as it is answered, so all 16 requests are always there.
    let record = |name: &str, workers: u32| {
        let case = Case { rate: workers * 320, is_paced: false, ..Case::new(&folder) };
        let workers = workers.to_string();
        case.record(name, &["--model", "handoff", "--workers", &workers, "--plan", "sleep:3000"])
    };
    let (before, after) = (record("before.dwell", 8)?, record("after.dwell", 2)?);
    let pair = pair(&[&before, &after])?;
    ensure!(outcome(&pair) == "worse" && names(&pair, "handed_over"), "{}", pair["causes"]);
    let [was, is] = [0, 1].map(|place| pair["threads"][place].as_u64().unwrap_or(0));
    ensure!(was > is, "{was} threads became {is}");
    Ok(())
}

/// Another kernel is told of, and is no change by itself.
#[test]
fn another_kernel() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let folder = Folder::new(TMP)?;
    let case = Case::new(&folder);
    let plan = ["--model", "threads", "--plan", "spin:300"];
    let (before, after) = (case.record("a.dwell", &plan)?, case.record("b.dwell", &plan)?);
    let connection = rusqlite::Connection::open(&after)?;
    connection.execute(
        "UPDATE thing SET body = json_set(body, '$.kernel', '9.9.9-other') WHERE kind = 'head'",
        (),
    )?;
    drop(connection);
    let document = compare(&[&before, &after])?;
    let reasons = document["unfair"].to_string();
    ensure!(reasons.contains("\"kernels\"") && reasons.contains("9.9.9-other"), "{reasons}");
    ensure!(outcome(&document["pairs"][0]) == "same", "{}", document["pairs"][0]["whole"]);
    Ok(())
}

#[test]
fn one_host_of_four_differs() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let folder = Folder::new(TMP)?;
    let case = Case { seconds: 5, ..Case::new(&folder) };
    let record = |name: &str, sleep: &str| {
        case.record(name, &["--model", "threads", "--plan", &format!("sleep:{sleep}")])
    };
    let files = [
        record("web1.dwell", "2000")?,
        record("web2.dwell", "2000")?,
        record("web3.dwell", "5000")?,
        record("web4.dwell", "2000")?,
    ];
    let document = compare(&files)?;
    ensure!(document["outlier"] == 2, "{}", document["outlier"]);
    Ok(())
}
