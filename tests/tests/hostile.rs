//! A target that means harm: dwell neither crashes nor hangs, takes no more memory and time than it
//! may, and nothing that the target has chosen steers the terminal or breaks the document.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use dwell_tests::document::Document;
use dwell_tests::dwell;
use dwell_tests::machine::Machine;
use dwell_tests::memory::Peak;
use dwell_tests::process::{Bounded, run};
use dwell_tests::random::Random;
use dwell_tests::terminal;
use dwell_tests::workload::Workload;
use dwell_tests::{books, need_program, need_root};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

/// How long dwell looks, and how long it may take to name what it has seen, attaching included.
const WINDOW: Duration = Duration::from_millis(1500);
const PATIENCE: Duration = Duration::from_secs(15);
/// Most memory that it may take, in bytes.
const MOST_MEMORY: u64 = 256 << 20;

/// Both forms of a report on one target.
struct Reports {
    text: String,
    document: Document,
}

/// Reports on a target in both forms, and checks what always holds.
fn report(workload: &mut Workload) -> Result<Reports> {
    workload.go()?;
    let text = attach(workload.pid(), &["--threads", "--full-stacks", "--top", "100000"])?;
    let json = attach(workload.pid(), &["--json"])?;
    let document = Document::parse(&json)?;
    books::check(&document)?;
    books::report(books::unexplained(&document))?;
    ensure!(
        terminal::steers_in(&document.value).is_none(),
        "{:?}",
        terminal::steers_in(&document.value)
    );
    let trust: Vec<&str> = text.lines().filter(|line| line.starts_with("Trust:")).collect();
    ensure!(trust.len() == 1, "one line of trust, not {trust:?}");
    Ok(Reports { text, document })
}

/// Runs dwell to its end; gives what it printed.
fn attach(pid: u32, options: &[&str]) -> Result<String> {
    let mut command = dwell::command()?;
    let window = format!("{}ms", WINDOW.as_millis());
    command.args(["attach", "-d", &window, "-p", &pid.to_string()]).args(options);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let began = Instant::now();
    let mut process = Bounded::spawn(&mut command)?;
    let peak = Peak::of(process.pid());
    let stdout = read_all(process.child().stdout.take().context("no stdout")?);
    let stderr = read_all(process.child().stderr.take().context("no stderr")?);
    let status = process.wait_within(WINDOW + PATIENCE)?;
    let took = began.elapsed();
    let peak = peak.bytes()?;
    let join = |reader: std::thread::JoinHandle<Vec<u8>>| {
        reader.join().map_err(|_| anyhow!("cannot read"))
    };
    let (stdout, stderr) = (join(stdout)?, join(stderr)?);
    let said = String::from_utf8_lossy(&stderr);
    println!("  {took:?}, {} MiB, {} bytes", peak >> 20, stdout.len());
    ensure!(status.success(), "{options:?} ended with {status}: {said:?}");
    ensure!(said.lines().all(|line| line.starts_with("dwell: ")), "it said {said:?}");
    for output in [&stdout, &stderr] {
        ensure!(terminal::steers(output).is_none(), "{:?}", terminal::steers(output));
    }
    ensure!(peak <= MOST_MEMORY, "it took {} MiB", peak >> 20);
    Ok(String::from_utf8(stdout)?)
}

fn read_all(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // A pipe that breaks leaves what came before.
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

/// All frames of a document.
fn frames(document: &Document) -> impl Iterator<Item = &str> {
    document.body.waits.iter().flat_map(|wait| wait.stack.iter().map(String::as_str))
}

#[test]
fn names_that_steer_a_terminal() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let mut workload = Workload::start(WORKLOAD, &["hostile-names", "--seconds", "60"])?;
    let Reports { text, document } = report(&mut workload)?;
    // Shown, but harmless.
    ensure!(text.contains("x\\nTrust: good"), "{text}");
    for part in ["\\x1b[2J\\x1b[1;31mred", "x\\nTrust: good", "\\x1b[31mleader\\x07"] {
        let found = document.body.threads.iter().any(|thread| thread.comm == part);
        ensure!(found, "{part} is not in the document");
    }
    ensure!(document.threads_of(workload.pid()).count() >= 20);
    let objects: Vec<String> =
        document.body.waits.iter().map(|wait| format!("{:?}", wait.object)).collect();
    let evil =
        |kind: &str| {
            document.body.waits.iter().any(|wait| {
                wait.kind == kind && format!("{:?}", wait.object).contains("x1b[2Jevil")
            })
        };
    ensure!(evil("socket") && evil("file_lock"), "no name of a file or socket in {objects:#?}");
    Ok(())
}

/// A program that was copied to a name that steers a terminal, and deleted while it runs.
#[test]
fn a_program_that_was_deleted() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let place = Path::new(WORKLOAD).parent().context("no folder of the program")?;
    let folder = tempfile::Builder::new().prefix("hostile-").tempdir_in(place)?;
    let program = folder.path().join("evil\n\u{1b}[2J (deleted)");
    fs::copy(WORKLOAD, &program)?;
    let mut workload =
        Workload::start_from(&program, folder.path(), &["sleep", "--seconds", "60"])?;
    fs::remove_file(&program)?;
    let Reports { text, document } = report(&mut workload)?;
    ensure!(frames(&document).any(|frame| frame.contains("clock_nanosleep")), "{text}");
    // Its own functions are known by the file that is kept open.
    ensure!(frames(&document).any(|frame| frame.contains("workloads::sleep::run")), "{text}");
    Ok(())
}

/// A perf map in `/tmp`, gone with this.
struct PerfMap(PathBuf);

impl PerfMap {
    fn of(pid: u32) -> Result<(Self, File)> {
        let path = PathBuf::from(format!("/tmp/perf-{pid}.map"));
        let file = File::create_new(&path).with_context(|| format!("{}", path.display()))?;
        Ok((Self(path), file))
    }
}

impl Drop for PerfMap {
    fn drop(&mut self) {
        // Nothing to be done about a file that cannot be removed.
        let _ = fs::remove_file(&self.0);
    }
}

/// Where the anonymous code of the workload lies.
fn code_of(pid: u32) -> Result<u64> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let line =
        maps.lines().find(|line| line.contains("r-xp 00000000 00:00 0") && !line.contains('['));
    let line = line.with_context(|| format!("no code in {maps}"))?;
    Ok(u64::from_str_radix(line.split('-').next().unwrap_or_default(), 16)?)
}

#[test]
fn a_perf_map_of_a_gigabyte() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let mut workload = Workload::start(WORKLOAD, &["--seconds", "60", "hostile-code", "memory"])?;
    let (_map, mut file) = PerfMap::of(workload.pid())?;
    writeln!(file, "{:x} 1000 too-large-to-be-read", code_of(workload.pid())?)?;
    file.set_len(1 << 30)?;
    let Reports { document, .. } = report(&mut workload)?;
    ensure!(
        document.value["trust"]["refused_names"].as_u64() > Some(0),
        "it was refused, and that is counted"
    );
    ensure!(!frames(&document).any(|frame| frame.contains("too-large")));
    Ok(())
}

#[test]
fn a_perf_map_of_sequences_and_absurd_addresses() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let mut random = Random::announced("perf map");
    let mut workload = Workload::start(WORKLOAD, &["--seconds", "60", "hostile-code", "memory"])?;
    let code = code_of(workload.pid())?;
    let (_map, mut file) = PerfMap::of(workload.pid())?;
    let mut text = Vec::new();
    // Everything that there is, over and over; then what counts, as the last; then what says nothing.
    for line in [
        "0 ffffffffffffffff all",
        "ffffffffffffffff 1 end",
        "-1 -1 minus",
        "1 0 nothing",
        "zz 1 digits",
    ] {
        writeln!(text, "{line}")?;
    }
    for _ in 0..300_000 {
        writeln!(
            text,
            "{:x} {:x} f{}",
            random.number() >> random.below(64),
            random.below(1 << 20),
            random.number()
        )?;
    }
    for index in 0..16 {
        write!(text, "{:x} 40 js:{index}", code + index * 64)?;
        text.extend_from_slice(b" \x1b[2J\x1b]0;pwned\x07\r\xff\xc2\x9b31m\n");
    }
    text.extend((0..100_000).map(|_| random.number() as u8));
    file.write_all(&text)?;
    let Reports { document, text } = report(&mut workload)?;
    let named = frames(&document).filter(|frame| frame.starts_with("js:")).count();
    ensure!(named > 0, "the code has no name in\n{text}");
    Ok(())
}

/// What the workload runs at `CODE_AT`: see there.
const CODE: [u8; 15] =
    [0x55, 0x48, 0x89, 0xf5, 0xb8, 35, 0, 0, 0, 0x31, 0xf6, 0x0f, 0x05, 0x5d, 0xc3];
const CODE_AT: [u64; 4] = [0x1040, 0x1080, 0x1100, 0x1180];

fn put_code(file: &File) -> Result<()> {
    CODE_AT.iter().try_for_each(|at| file.write_all_at(&CODE, *at))?;
    Ok(())
}

/// A small program with debug information.
fn small_program(folder: &Path) -> Result<Vec<u8>> {
    let (source, program) = (folder.join("small.c"), folder.join("small"));
    fs::write(
        &source,
        "static inline int inner(int x) { volatile int y = x * 3; return y + 1; }\n\
         int outer(int x) { int s = 0; for (int i = 0; i < x; i++) s += inner(i); return s; }\n\
         int main(int c, char **v) { return outer(c) + v[0][0]; }\n",
    )?;
    let mut compiler = Command::new("cc");
    compiler.args(["-g", "-O2", "-o"]).arg(&program).arg(&source);
    run(&mut compiler, Duration::from_secs(30))?;
    Ok(fs::read(program)?)
}

#[test]
fn programs_that_are_damaged() -> Result<()> {
    need_root!();
    need_program!("cc");
    let _machine = Machine::take()?;
    let mut random = Random::announced("damaged");
    let folder = tempfile::tempdir()?;
    let image = small_program(folder.path())?;
    let code = folder.path().join("code");
    fs::create_dir(&code)?;
    for number in 0..300 {
        let mut broken = image.clone();
        // The headers at both ends, the sections between them, or a little of everything.
        let (from, to) = match number % 3 {
            0 => (4, 1024),
            1 => (broken.len() * 3 / 4, broken.len()),
            _ => (64, broken.len()),
        };
        for _ in 0..random.between(1, 64) {
            let at = random.between(from as u64, to as u64) as usize;
            broken[at] = match random.below(3) {
                0 => random.number() as u8,
                1 => 0xff,
                _ => broken[at] ^ (1 << random.below(8)),
            };
        }
        broken.resize(broken.len().max(0x2000), 0);
        let file = File::create_new(code.join(format!("broken-{number}")))?;
        file.write_all_at(&broken, 0)?;
        put_code(&file)?;
    }
    let path = code.to_string_lossy().into_owned();
    let mut workload =
        Workload::start(WORKLOAD, &["--seconds", "60", "hostile-code", "files", &path])?;
    let Reports { document, .. } = report(&mut workload)?;
    let seen = frames(&document).filter(|frame| frame.contains("broken-")).count();
    let named =
        frames(&document).filter(|frame| ["outer", "main", "_start"].contains(frame)).count();
    ensure!(
        seen + named > 100,
        "the files hardly show: {seen} frames without a name, {named} with one"
    );
    Ok(())
}

/// A file with a list of symbols that takes no place on the disk.
fn hollow_program(path: &Path, symbols: u64) -> Result<()> {
    let file = File::create_new(path)?;
    let header = |fields: &[(u64, u64, usize)], size: usize| {
        let mut bytes = vec![0; size];
        for (at, value, width) in fields {
            let at = *at as usize;
            bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..*width]);
        }
        bytes
    };
    let (symbols_at, names_at, sections_at) = (0x3000, 0x2000, 0x2800);
    let mut head = header(
        &[
            (16, 3, 2),
            (18, 62, 2),
            (20, 1, 4),
            (32, 64, 8),
            (40, sections_at, 8),
            (52, 64, 2),
            (54, 56, 2),
            (56, 1, 2),
            (58, 64, 2),
            (60, 4, 2),
            (62, 3, 2),
        ],
        64,
    );
    head[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    file.write_all_at(&head, 0)?;
    let load =
        header(&[(0, 1, 4), (4, 5, 4), (32, 0x2000, 8), (40, 0x2000, 8), (48, 0x1000, 8)], 56);
    file.write_all_at(&load, 64)?;
    file.write_all_at(b"\0.symtab\0.strtab\0.text\0", names_at)?;
    let symtab = header(
        &[
            (0, 1, 4),
            (4, 2, 4),
            (24, symbols_at, 8),
            (32, symbols * 24, 8),
            (40, 3, 4),
            (56, 24, 8),
        ],
        64,
    );
    let text = header(
        &[(0, 17, 4), (4, 1, 4), (8, 6, 8), (16, 0x1000, 8), (24, 0x1000, 8), (32, 0x1000, 8)],
        64,
    );
    let strtab = header(&[(0, 9, 4), (4, 3, 4), (24, names_at, 8), (32, 0x100, 8)], 64);
    for (index, section) in [vec![0; 64], symtab, text, strtab].iter().enumerate() {
        file.write_all_at(section, sections_at + 64 * index as u64)?;
    }
    file.set_len(symbols_at + symbols * 24)?;
    put_code(&file)
}

#[test]
fn a_program_with_millions_of_symbols() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let folder = tempfile::tempdir()?;
    let code = folder.path().join("code");
    fs::create_dir(&code)?;
    // A gigabyte each, as much as one may have, and many small ones.
    for (number, symbols) in [(1, 44_000_000), (1, 2_500_000), (40, 500_000)] {
        for index in 0..number {
            hollow_program(&code.join(format!("hollow-{symbols}-{index}")), symbols)?;
        }
    }
    let path = code.to_string_lossy().into_owned();
    let mut workload =
        Workload::start(WORKLOAD, &["--seconds", "60", "hostile-code", "files", &path])?;
    let Reports { document, .. } = report(&mut workload)?;
    ensure!(frames(&document).any(|frame| frame.contains("hollow-")));
    ensure!(
        document.value["trust"]["refused_names"].as_u64() > Some(0),
        "some were refused, and counted"
    );
    Ok(())
}

#[test]
fn frames_that_lie_nowhere_among_many_mappings() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let mut workload = Workload::start(WORKLOAD, &["--seconds", "60", "hostile-code", "frames"])?;
    let Reports { document, .. } = report(&mut workload)?;
    ensure!(document.blocked_ns(workload.pid(), "sleep") > 0);
    Ok(())
}

#[test]
fn a_stack_that_never_answers() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let mut workload = Workload::start(WORKLOAD, &["--seconds", "60", "hostile-code", "silence"])?;
    let Reports { document, .. } = report(&mut workload)?;
    ensure!(document.blocked_ns(workload.pid(), "sleep") > 0);
    Ok(())
}
