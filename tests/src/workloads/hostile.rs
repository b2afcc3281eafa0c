//! Names made to fool a terminal: of threads, of the program, of files and of sockets.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::thread;

use anyhow::{Context, Result};
use dwell_tests::clock::sleep_ns;
use dwell_tests::outcome::Measured;
use serde_json::json;

use super::Stage;
use super::children::rename;
use super::system::check;

/// At most 15 bytes each, as the kernel keeps of a thread's name.
pub const NAMES: [&[u8]; 12] = [
    b"\x1b[2J\x1b[1;31mred",
    b"\x1b]0;title\x07",
    b"\xff\xfe\xc3\x28\x80bad",
    b"x\nTrust: good",
    b"a\rb\tc\x08d\x7f",
    b"\xc2\x9b2J\xc2\x9d0;x\x07",
    b"\xe2\x80\xaedesrever",
    b"nginx [1]  99%",
    b")) S 1 1 (((",
    b"\xe2\x80\x8b\xe2\x81\xa0\xef\xbb\xbf",
    b"a\xcc\x81\xcc\x81\xcc\x81\xcc\x81\xcc\x81\xcc\x81",
    b"\"},{\"pid\":1",
];

/// For a path: no `/` and no NUL, which are all that a name cannot hold.
const FILE_NAME: &[u8] = b"\x1b[2Jevil\n\r\x07\x7f\xff\xc2\x9b31m \"}]";

pub fn run(stage: Stage) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("dwell-").tempdir()?;
    let path = folder.path().join(OsStr::from_bytes(FILE_NAME));
    let lock = File::create(path.with_extension("lock"))?;
    hold(&lock)?;
    let listener = UnixListener::bind(path.with_extension("socket"))?;
    let hidden =
        SocketAddr::from_abstract_name([FILE_NAME, &std::process::id().to_ne_bytes()].concat())?;
    let hidden = UnixListener::bind_addr(&hidden)?;
    make_fifo(&path)?;
    rename(c"\x1b[31mleader\x07");
    for name in NAMES {
        spawn(name, || {
            loop {
                sleep_ns(3_000_000);
            }
        })?;
    }
    let path_of_lock = path.with_extension("lock");
    spawn(NAMES[0], move || {
        // Held for good by the other opening of the file.
        let _never = File::open(path_of_lock).and_then(|file| hold(&file));
    })?;
    let path_of_fifo = path.clone();
    spawn(NAMES[1], move || {
        let _never = File::open(path_of_fifo);
    })?;
    for listener in [listener, hidden] {
        let client = UnixStream::connect_addr(&listener.local_addr()?)?;
        spawn(NAMES[2], move || read_for_good(client))?;
        let (server, _) = listener.accept()?;
        spawn(NAMES[3], move || read_for_good(server))?;
        spawn(NAMES[4], move || {
            let _never = listener.accept();
        })?;
    }
    let running = stage.begin()?;
    while running.goes_on() {
        sleep_ns(5_000_000);
    }
    running.end("hostile-names", Measured::default(), json!({}))
}

fn spawn(name: &'static [u8], work: impl FnOnce() + Send + 'static) -> Result<()> {
    let name = CString::new(name).context("a name with a NUL")?;
    // It ends with the process.
    thread::Builder::new().stack_size(64 * 1024).spawn(move || {
        rename(&name);
        work();
    })?;
    Ok(())
}

fn hold(file: &File) -> std::io::Result<()> {
    // SAFETY: the descriptor is open.
    check(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) }).map(drop)
}

fn read_for_good(mut stream: UnixStream) {
    let _never = stream.read(&mut [0]);
}

fn make_fifo(path: &Path) -> Result<()> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the name ends with NUL.
    check(unsafe { libc::mkfifo(name.as_ptr(), 0o600) })?;
    Ok(())
}
