//! Waits whose stacks lead into what a target has made up: damaged files, maps of a just-in-time
//! compiler, frames that lie nowhere.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use clap::Subcommand;
use dwell_tests::outcome::Measured;
use dwell_tests::random::Random;
use serde_json::json;

use super::Stage;
use super::stage::Running;
use super::system::check;

/// What is made up.
#[derive(Subcommand)]
pub enum What {
    /// Code in every file of a folder, at the positions of [`CODE_AT`].
    Files {
        /// The folder.
        code: PathBuf,
    },
    /// Code in memory that no file holds.
    Memory,
    /// Frames at random addresses, in a process with tens of thousands of mappings.
    Frames {
        /// How many.
        #[arg(long, default_value_t = 30_000)]
        mappings: usize,
    },
    /// Frames in memory that never answers: a page fault there waits for this process.
    Silence,
}

/// Where in a file the test has put [`CODE`].
const CODE_AT: [usize; 4] = [0x1040, 0x1080, 0x1100, 0x1180];

/// `nanosleep(rdi, NULL)` with rsi as its caller's frame:
/// push rbp; mov rbp, rsi; mov eax, 35; xor esi, esi; syscall; pop rbp; ret.
const CODE: [u8; 15] =
    [0x55, 0x48, 0x89, 0xf5, 0xb8, 35, 0, 0, 0, 0x31, 0xf6, 0x0f, 0x05, 0x5d, 0xc3];

const PAGE: usize = 4096;
const NAP_NS: i64 = 300_000;

/// Naps in the code at an address; `frame` is what the frame pointer shows meanwhile.
fn nap(code: usize, frame: u64) {
    sleep(code, frame, libc::timespec { tv_sec: 0, tv_nsec: NAP_NS });
}

fn sleep(code: usize, frame: u64, time: libc::timespec) {
    // SAFETY: the caller has put `CODE` at this address, which keeps to the calling convention.
    let nap: extern "C" fn(*const libc::timespec, u64) = unsafe { std::mem::transmute(code) };
    nap(&raw const time, frame);
}

pub fn run(stage: Stage, what: &What) -> Result<()> {
    match what {
        What::Files { code } => {
            let mappings = map_files(code)?;
            in_turns(stage, mappings.len(), |turn, _| {
                CODE_AT.iter().for_each(|at| nap(mappings[turn] + at, 0));
            })
        }
        What::Memory => {
            let code = map_code()?;
            in_turns(stage, 16, |turn, _| nap(code + turn * 64, 0))
        }
        What::Frames { mappings } => {
            let code = map_code()?;
            make_mappings(*mappings)?;
            let mut chain = vec![0_u64; 2 * 64];
            in_turns(stage, 1, |_, random| nap(code, fill(&mut chain, random)))
        }
        What::Silence => {
            let code = map_code()?;
            let (silence, _descriptor) = map_silence()?;
            // A stack that lies below the silence, not far: the kernel maps downwards, where it
            // fits. One long sleep, since dwell walks the stack of the wait that it finds.
            let napper = thread::Builder::new().stack_size(8192 * PAGE).spawn(move || {
                let running = stage.begin()?;
                sleep(code, silence, libc::timespec { tv_sec: 60, tv_nsec: 0 });
                running.end("hostile-code", Measured::default(), json!({}))
            })?;
            napper.join().map_err(|_| anyhow!("panicked"))?
        }
    }
}

/// Does `work` with rising numbers until the time is over.
fn in_turns(stage: Stage, turns: usize, mut work: impl FnMut(usize, &mut Random)) -> Result<()> {
    ensure!(turns > 0, "nothing to do");
    let mut random = Random::new(u64::from(std::process::id()));
    let mut naps = 0_u64;
    let running: Running = stage.begin()?;
    while running.goes_on() {
        work(naps as usize % turns, &mut random);
        naps += 1;
    }
    running.end("hostile-code", Measured::default(), json!({ "naps": naps }))
}

/// Frames that lead through random addresses; gives the first.
fn fill(chain: &mut [u64], random: &mut Random) -> u64 {
    let base = chain.as_ptr() as u64;
    let count = chain.len() / 2;
    for index in 0..count {
        chain[2 * index] = if index + 1 < count { base + (index as u64 + 1) * 16 } else { 0 };
        // In the half of the address space that is the user's.
        chain[2 * index + 1] = random.between(1 << 16, 1 << 47);
    }
    base
}

/// Maps every file of a folder as code, as far as it goes.
fn map_files(folder: &std::path::Path) -> Result<Vec<usize>> {
    let mut mappings = Vec::new();
    for entry in folder.read_dir()? {
        let file = File::open(entry?.path())?;
        mappings.push(map(2 * PAGE, libc::PROT_READ | libc::PROT_EXEC, Some(&file))?);
    }
    Ok(mappings)
}

/// A page of code, over and over.
fn map_code() -> Result<usize> {
    let address = map(PAGE, libc::PROT_READ | libc::PROT_WRITE, None)?;
    for at in (0..PAGE).step_by(64) {
        // SAFETY: the page was mapped above, and is written by nobody else.
        unsafe {
            std::ptr::copy_nonoverlapping(CODE.as_ptr(), (address + at) as *mut u8, CODE.len())
        };
    }
    // SAFETY: the range is the mapping.
    check(unsafe {
        libc::mprotect(address as *mut libc::c_void, PAGE, libc::PROT_READ | libc::PROT_EXEC)
    })?;
    Ok(address)
}

/// Many mappings that the kernel cannot join: every other page may be executed.
fn make_mappings(count: usize) -> Result<()> {
    let address = map(count * PAGE, libc::PROT_READ, None)?;
    for page in (0..count).step_by(2) {
        let page = (address + page * PAGE) as *mut libc::c_void;
        // SAFETY: the page lies within the mapping.
        check(unsafe { libc::mprotect(page, PAGE, libc::PROT_READ | libc::PROT_EXEC) })
            .context("too many mappings: see vm.max_map_count")?;
    }
    Ok(())
}

/// Memory whose page faults go to a descriptor that nobody reads (userfaultfd(2)).
fn map_silence() -> Result<(u64, i32)> {
    let address = map(PAGE, libc::PROT_READ | libc::PROT_WRITE, None)?;
    // SAFETY: takes flags.
    let result =
        unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | libc::O_NONBLOCK) };
    let descriptor = check(result as i32).context("no userfaultfd here")?;
    // include/uapi/linux/userfaultfd.h: struct uffdio_api, UFFDIO_API; struct uffdio_register,
    // UFFDIO_REGISTER, in the mode UFFDIO_REGISTER_MODE_MISSING.
    let mut api = [0xaa_u64, 0, 0];
    let mut range = [address as u64, PAGE as u64, 1, 0];
    // SAFETY: the structures are those that the requests take.
    unsafe {
        check(libc::ioctl(descriptor, 0xc018_aa3f, api.as_mut_ptr()))?;
        check(libc::ioctl(descriptor, 0xc020_aa00, range.as_mut_ptr()))?;
    }
    Ok((address as u64 + 512, descriptor))
}

fn map(length: usize, protection: i32, file: Option<&File>) -> Result<usize> {
    let (flags, descriptor) = match file {
        Some(file) => (libc::MAP_PRIVATE, file.as_raw_fd()),
        None => (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1),
    };
    // SAFETY: a new mapping at an address of the kernel's choice, never unmapped.
    let address =
        unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, descriptor, 0) };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error()).context("cannot map memory");
    }
    Ok(address as usize)
}
