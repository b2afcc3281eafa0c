//! The symbolizer against real processes: this one, and others that die.

use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::*;

/// Names one address of this process.
fn name_own(address: u64) -> Vec<Frame> {
    Symbolizer::new().resolve(std::process::id(), &[address])
}

fn functions(frames: &[Frame]) -> Vec<&str> {
    frames.iter().filter_map(|frame| frame.function.as_deref()).collect()
}

/// The address that a call from here returns to.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn here() -> u64 {
    let address;
    // SAFETY: only copies the instruction pointer.
    unsafe { std::arch::asm!("lea {}, [rip]", out(reg) address, options(nomem, nostack)) };
    address
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn inlined_into_its_caller(seed: u64) -> u64 {
    black_box(seed);
    here()
}

#[cfg(target_arch = "x86_64")]
#[inline(never)]
fn calls_an_inlined_function() -> u64 {
    let address = inlined_into_its_caller(7);
    black_box(address)
}

#[cfg(target_arch = "x86_64")]
#[test]
fn names_inlined_functions_first() {
    let frames = name_own(calls_an_inlined_function());
    let names = functions(&frames);
    let position = |wanted: &str| names.iter().position(|name| name.ends_with(wanted));
    let (last, others) = frames.split_last().unwrap();
    assert_eq!(position("calls_an_inlined_function"), Some(others.len()), "{frames:?}");
    assert!(!last.inlined && others.iter().all(|frame| frame.inlined), "{frames:?}");
    // An optimizing compiler may leave of the two inlined functions only the inner one.
    let inner = if cfg!(debug_assertions) { "inlined_into_its_caller" } else { "black_box<u64>" };
    assert!(position(inner).is_some(), "{frames:?}");
    let (file, line) = last.file_line.as_ref().unwrap();
    assert!(file.ends_with("tests.rs") && *line > 0, "{frames:?}");
    assert!(frames.iter().all(|frame| frame.offset == last.offset && frame.offset < 1000));
}

#[test]
fn names_looked_up_together_are_the_same() {
    let pid = std::process::id();
    let own = names_looked_up_together_are_the_same as fn() as usize as u64;
    let of_libc = libc::getpid as unsafe extern "C" fn() -> i32 as usize as u64;
    // The last lies nowhere, and the process with the other number is not there.
    let stacks: [(u32, &[u64]); 3] =
        [(pid, &[own, of_libc + 1, own + 1]), (pid, &[of_libc, 8]), (u32::MAX, &[own])];
    let mut symbols = Symbolizer::new();
    symbols.look_up(stacks.into_iter());
    for (pid, stack) in stacks {
        let known = symbols.resolve(pid, stack);
        assert_eq!(known, Symbolizer::new().resolve(pid, stack));
    }
}

#[test]
fn names_a_function_of_this_program_and_its_call() {
    let start = name_own as fn(u64) -> Vec<Frame> as usize as u64;
    let mut symbols = Symbolizer::new();
    // As a return address, the first byte of a function belongs to the function before it.
    let frames = symbols.resolve(std::process::id(), &[start, start + 1, start]);
    let of = |address: u64| {
        frames.iter().filter(move |frame| frame.address == address && !frame.inlined)
    };
    let outer: Vec<&Frame> = of(start).collect();
    assert!(
        outer[0].function.as_deref().is_some_and(|name| name.ends_with("name_own")),
        "{frames:?}"
    );
    assert_eq!(outer[0].offset, 0);
    assert_ne!(outer[0].function, outer[1].function);
    let call = of(start + 1).next().unwrap();
    assert_eq!((call.offset, &call.function), (1, &outer[0].function));
    assert!(call.module.as_deref().is_some_and(|module| !module.contains('/')));
}

#[test]
fn names_what_libc_exports() {
    let frames = name_own(libc::getpid as unsafe extern "C" fn() -> i32 as usize as u64);
    let frame = frames.last().unwrap();
    assert!(frame.function.as_deref().is_some_and(|name| name.ends_with("getpid")), "{frame:?}");
    assert_eq!(frame.module.as_deref(), Some("libc.so.6"));
}

#[test]
fn names_the_vdso() {
    // SAFETY: only asks for a value.
    let base = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) };
    if base == 0 {
        return;
    }
    let addresses: Vec<u64> = (0..8192).step_by(16).map(|offset| base + offset).collect();
    let mut symbols = Symbolizer::new();
    let frames: Vec<Frame> = addresses
        .iter()
        .flat_map(|address| symbols.resolve(std::process::id(), &[*address]))
        .collect();
    assert!(functions(&frames).iter().any(|name| name.contains("clock_gettime")), "{frames:?}");
    assert!(frames.iter().any(|frame| frame.module.as_deref() == Some("[vdso]")));
}

/// A process that waits for its end of input.
fn start(program: &str) -> Child {
    let child =
        Command::new(program).arg("60").stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    // Until it has become the program and loaded its libraries.
    for _ in 0..1000 {
        let name =
            std::fs::read_to_string(format!("/proc/{}/wchan", child.id())).unwrap_or_default();
        let maps =
            std::fs::read_to_string(format!("/proc/{}/maps", child.id())).unwrap_or_default();
        if maps.contains("libc.so")
            && maps.contains("sleep")
            && (name.contains("nanosleep") || name == "0")
        {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    child
}

/// Where a process has a file's byte in memory.
fn address_of(pid: u32, file: &str, position: u64) -> u64 {
    let regions = Regions::read(&find_process(pid)).unwrap();
    let text = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    let here = |region: &&Region| {
        let end = region.offset + (region.end - region.start);
        text(&region.path).contains(file) && (region.offset..end).contains(&position)
    };
    let region = regions.iter().find(here).unwrap();
    region.start + (position - region.offset)
}

/// Where libc has `clock_nanosleep` in its file: as far from its start as in this process.
fn nanosleep_position() -> u64 {
    let address = libc::clock_nanosleep as *const () as u64;
    let regions = Regions::read(&find_process(std::process::id())).unwrap();
    let region = regions.find(address).unwrap();
    address - region.start + region.offset
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn names_a_process_that_has_died() {
    let child = start("sleep");
    let pid = child.id();
    let address = address_of(pid, "libc.so", nanosleep_position());
    let mut symbols = Symbolizer::new();
    symbols.remember(pid, &[address + 5]);
    end(child);
    let frames = symbols.resolve(pid, &[address + 5]);
    let frame = frames.last().unwrap();
    assert!(
        frame.function.as_deref().is_some_and(|name| name.contains("clock_nanosleep")),
        "{frame:?}"
    );
    assert_eq!(frame.offset, 5);
    symbols.forget(pid);
    assert_eq!(symbols.resolve(pid, &[address]), [Frame::unknown(address)]);
    assert_eq!((symbols.regions, symbols.limits_hit()), (0, 0));
}

#[test]
fn names_a_program_that_was_deleted() {
    let folder = std::env::temp_dir().join(format!("dwell-gone-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let program = folder.join("sleep");
    std::fs::copy("/usr/bin/sleep", &program).unwrap();
    let child = start(program.to_str().unwrap());
    std::fs::remove_dir_all(&folder).unwrap();
    let pid = child.id();
    let regions = Regions::read(&find_process(pid)).unwrap();
    let code =
        regions.iter().find(|region| region.path.ends_with(b"sleep (deleted)")).unwrap().clone();
    let mut symbols = Symbolizer::new();
    symbols.remember(pid, &[code.start]);
    end(child);
    let frames = symbols.resolve(pid, &[code.start]);
    assert_eq!(frames[0].module.as_deref(), Some("sleep"));
    let region = symbols.processes[&pid].regions.find(code.start).unwrap();
    assert!(matches!(&region.backing, Backing::File(module) if module.shape.is_some()));
}

#[test]
fn without_map_files_finds_the_file_by_its_name() {
    let me = std::process::id();
    let regions = Regions::read(&find_process(me)).unwrap();
    let libc = regions.iter().find(|region| region.path.ends_with(b"libc.so.6")).unwrap();
    // A range that nothing maps has no entry in map_files.
    let mut region = Region { end: libc.end + 1, ..libc.clone() };
    assert!(open::open_mapped(&find_process(me), &region).is_ok());
    region.inode += 1;
    assert!(open::open_mapped(&find_process(me), &region).is_err());
}

#[test]
fn names_what_a_perf_map_names() {
    let me = std::process::id();
    // SAFETY: a new mapping, which nothing else refers to.
    let code = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            8192,
            libc::PROT_READ | libc::PROT_EXEC,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    let address = code as u64;
    let path = format!("/tmp/perf-{me}.map");
    std::fs::write(&path, format!("{address:x} 40 js:first\n{:x} 40 js:second\n", address + 64))
        .unwrap();
    let mut symbols = Symbolizer::new();
    symbols.remember(me, &[address]);
    std::fs::remove_file(&path).unwrap();
    let frames = symbols.resolve(me, &[address + 3, address + 64, address + 65, address + 4096]);
    // SAFETY: unmaps what was mapped above, which nobody uses any more.
    unsafe { libc::munmap(code, 8192) };
    assert_eq!(functions(&frames), ["js:first", "js:first", "js:second"]);
    assert_eq!(frames.iter().map(|frame| frame.offset).collect::<Vec<_>>(), [3, 64, 1, 4096]);
    assert_eq!(frames[0].module.as_deref(), Some("[jit]"));
}

#[test]
fn gives_a_frame_for_every_address_that_has_no_name() {
    let mut symbols = Symbolizer::new();
    let addresses = [0, 1, 4096, 1 << 47, 1 << 63, u64::MAX];
    for pid in [0, 1, std::process::id(), u32::MAX] {
        let frames = symbols.resolve(pid, &addresses);
        assert_eq!(frames.iter().map(|frame| frame.address).collect::<Vec<_>>(), addresses);
        symbols.remember(pid, &addresses);
        symbols.forget(pid);
    }
    assert!(symbols.resolve(1, &[]).is_empty());
    let frames = symbols.resolve_kernel(&addresses);
    assert_eq!(functions(&frames), Vec::<&str>::new());
}

#[test]
fn names_kernel_functions_unless_they_are_hidden() {
    let list = std::fs::File::open("/proc/kallsyms").unwrap();
    let line = |line: std::io::Result<String>| {
        let line = line.unwrap();
        let mut fields = line.split_ascii_whitespace();
        let address = u64::from_str_radix(fields.next()?, 16).ok()?;
        (fields.nth(1)? == "schedule").then_some(address)
    };
    let address = BufReader::new(list).lines().find_map(line).unwrap_or(0);
    let frames = Symbolizer::new().resolve_kernel(&[address + 1, address + 1, 12]);
    assert_eq!(frames.len(), 3);
    if address == 0 {
        assert_eq!(functions(&frames), Vec::<&str>::new());
        return;
    }
    assert_eq!(functions(&frames), ["schedule", "schedule"]);
    assert_eq!((frames[0].offset, frames[1].offset), (1, 1));
    assert_eq!(frames[0].module.as_deref(), Some("[kernel]"));
}

#[test]
fn a_later_process_with_the_same_number_is_not_taken_for_the_dead_one() {
    let child = start("sleep");
    let pid = child.id();
    let address = address_of(pid, "libc.so", nanosleep_position());
    let mut symbols = Symbolizer::new();
    symbols.remember(pid, &[]);
    let mut another = Process::new();
    another.start_time = Some(1);
    symbols.processes.insert(pid, another);
    assert_eq!(symbols.resolve(pid, &[address]), [Frame::unknown(address)]);
    symbols.remember(pid, &[address]);
    assert!(symbols.resolve(pid, &[address])[0].function.is_some());
    end(child);
}

/// A process maps code while its regions may not be read again yet: the probes must not be told that there is
/// nothing, as they would never ask again.
#[test]
fn that_an_address_lies_nowhere_is_said_only_after_a_look() {
    const NOWHERE: u64 = 0x10;
    let pid = std::process::id();
    let mut symbolizer = Symbolizer::new();
    symbolizer.remember(pid, &[here()]);
    let may_read_for = |symbolizer: &mut Symbolizer, time| {
        let process = symbolizer.processes.get_mut(&pid).expect("it was remembered");
        process.reading = Allowance::new(time, u32::MAX);
    };
    may_read_for(&mut symbolizer, Duration::ZERO);
    assert_eq!(symbolizer.row_at(pid, NOWHERE), None);
    may_read_for(&mut symbolizer, Duration::from_secs(1));
    assert_eq!(symbolizer.row_at(pid, NOWHERE), Some(UNKNOWN));
}

/// Nor of a process that is gone, or that has executed another program since its regions were read: others in the same
/// address space would be told.
#[test]
fn of_who_is_gone_or_changed_nothing_is_said() {
    let mut symbolizer = Symbolizer::new();
    let gone = i32::MAX.unsigned_abs();
    assert_eq!(symbolizer.row_at(gone, here()), None);
    let pid = std::process::id();
    assert!(symbolizer.row_at(pid, here()).is_some());
    let process = symbolizer.processes.get_mut(&pid).expect("it was remembered");
    process.enter(1);
    assert!(process.covers(here()), "it has not been in another one");
    process.enter(2);
    assert!(!process.covers(here()));
    process.reading = Allowance::new(Duration::ZERO, u32::MAX);
    assert_eq!(symbolizer.row_at(pid, here()), None);
    let process = symbolizer.processes.get_mut(&pid).expect("it was remembered");
    process.reading = Allowance::new(Duration::from_secs(1), u32::MAX);
    assert!(symbolizer.row_at(pid, here()).is_some());
}

#[test]
fn garbage_addresses_do_not_make_it_read_the_maps_again() {
    let me = std::process::id();
    let mut symbols = Symbolizer::new();
    symbols.remember(me, &[12, 34]);
    let process = &symbols.processes[&me];
    assert!(process.covers(12) && process.covers(33) && !process.covers(56));
}

#[test]
fn refuses_hostile_programs_without_dying() {
    // A real program with every part of it damaged in turn.
    let image = std::fs::read("/usr/bin/sleep").unwrap();
    let mut symbols = Symbolizer::new();
    for damage in 0..200_usize {
        let mut broken = image.clone();
        for step in 0..50_usize {
            let at = (damage * 7919 + step * 104_729) % broken.len();
            broken[at] = broken[at].wrapping_mul(31).wrapping_add(damage as u8);
        }
        let file = write_unlinked(&broken);
        let (module, _) = Module::new(file, b"/broken");
        let highest = broken.len() as u64;
        for address in [0, 0x1000, 0x2345, 0x4000, highest, u64::MAX] {
            symbols.resolver.resolve(&module, address);
        }
        symbols.resolver.forget(&module);
    }
}

fn write_unlinked(bytes: &[u8]) -> std::fs::File {
    let id = std::thread::current().id();
    let path = std::env::temp_dir().join(format!("dwell-broken-{}-{id:?}", std::process::id()));
    std::fs::write(&path, bytes).unwrap();
    let file = std::fs::File::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    file
}
