//! What serving a request takes, as the command line says it.

use std::num::NonZeroU64;
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail, ensure};

/// Longest time that one step of one request may take, in microseconds.
const LONGEST_US: u64 = 60_000_000;

/// One step of serving a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// `spin:US`: CPU time.
    Spin { ns: u64 },
    /// `sleep:US`.
    Sleep { ns: u64 },
    /// `lock:HOLD_US:EVERY`: some hold a mutex and sleep, all others take the same one for a moment.
    Lock { hold_ns: u64, every: NonZeroU64 },
    /// `calls:PORT,…` asks these servers one after another; `calls-parallel:PORT,…` all at once.
    Calls { ports: Vec<u16>, parallel: bool },
    /// `fsync:EVERY`: some append to a file, and flush it to its disk.
    Fsync { every: NonZeroU64 },
    /// `uneven:US:FACTOR`: CPU time, so many times more in worker number 0.
    Uneven { ns: u64, factor: u64 },
    /// `slow:US:EVERY` spins for the path `/slow`, and for some of the others (0: none);
    /// `slow:US:EVERY:sleep` sleeps.
    Slow { ns: u64, every: Option<NonZeroU64>, sleeps: bool },
}

/// Whether it is the turn of the request of this number, which counts from 1.
pub fn is_turn(number: u64, every: NonZeroU64) -> bool {
    number.is_multiple_of(every.get())
}

impl FromStr for Plan {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, values) = text.split_once(':').context("NAME:VALUES")?;
        let values: Vec<&str> = values.split(':').collect();
        match (name, &values[..]) {
            ("spin", [us]) => Ok(Self::Spin { ns: time(us)? }),
            ("sleep", [us]) => Ok(Self::Sleep { ns: time(us)? }),
            ("lock", [us, every]) => Ok(Self::Lock { hold_ns: time(us)?, every: every.parse()? }),
            ("calls", [list]) => Ok(Self::Calls { ports: ports(list)?, parallel: false }),
            ("calls-parallel", [list]) => Ok(Self::Calls { ports: ports(list)?, parallel: true }),
            ("fsync", [every]) => Ok(Self::Fsync { every: every.parse()? }),
            ("uneven", [us, factor]) => Ok(Self::uneven(time(us)?, factor.parse()?)?),
            ("slow", [us, every]) => Self::slow(us, every, false),
            ("slow", [us, every, "spin"]) => Self::slow(us, every, false),
            ("slow", [us, every, "sleep"]) => Self::slow(us, every, true),
            _ => bail!("no such plan, or not so many values"),
        }
    }
}

impl Plan {
    fn uneven(ns: u64, factor: u64) -> Result<Self> {
        ensure!((1..=1000).contains(&factor), "a factor is 1 to 1000");
        Ok(Self::Uneven { ns, factor })
    }

    fn slow(us: &str, every: &str, sleeps: bool) -> Result<Self> {
        Ok(Self::Slow { ns: time(us)?, every: NonZeroU64::new(every.parse()?), sleeps })
    }
}

/// Microseconds, in nanoseconds.
fn time(us: &str) -> Result<u64> {
    let us: u64 = us.parse()?;
    ensure!(us <= LONGEST_US, "at most {LONGEST_US} microseconds");
    Ok(us * 1000)
}

/// At least one, each once: a thread has one connection to each.
fn ports(list: &str) -> Result<Vec<u16>> {
    let ports: Vec<u16> = list.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let mut once = ports.clone();
    once.sort_unstable();
    once.dedup();
    ensure!(once.len() == ports.len() && once[0] > 0, "each port once, and not 0");
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: NonZeroU64 = NonZeroU64::new(3).unwrap();

    #[test]
    fn plans_of_the_command_line() -> Result<()> {
        let calls = |parallel| Plan::Calls { ports: vec![80, 81], parallel };
        let slow = |every, sleeps| Plan::Slow { ns: 5_000_000, every, sleeps };
        for (text, plan) in [
            ("spin:20", Plan::Spin { ns: 20_000 }),
            ("sleep:0", Plan::Sleep { ns: 0 }),
            ("lock:700:3", Plan::Lock { hold_ns: 700_000, every: THREE }),
            ("calls:80,81", calls(false)),
            ("calls-parallel:80,81", calls(true)),
            ("fsync:3", Plan::Fsync { every: THREE }),
            ("uneven:9:4", Plan::Uneven { ns: 9_000, factor: 4 }),
            ("slow:5000:3", slow(Some(THREE), false)),
            ("slow:5000:0:sleep", slow(None, true)),
        ] {
            assert_eq!(text.parse::<Plan>()?, plan, "{text}");
        }
        Ok(())
    }

    #[test]
    fn what_is_no_plan() {
        for text in [
            "",
            "spin",
            "spin:",
            "spin:-1",
            "spin:1:2",
            "spin:60000001",
            "lock:1:0",
            "lock:1",
            "calls:",
            "calls:0",
            "calls:80,80",
            "calls:70000",
            "fsync:0",
            "uneven:1:0",
            "slow:1",
            "slow:1:1:walk",
            "rest:1",
        ] {
            assert!(text.parse::<Plan>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_third_request() {
        let turns: Vec<u64> = (1..=9).filter(|&number| is_turn(number, THREE)).collect();
        assert_eq!(turns, [3, 6, 9]);
    }
}
