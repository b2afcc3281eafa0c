//! A client of PostgreSQL that does what it is told, and samples what the server says of itself.

use std::io::Write;
use std::process::{ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::clock::monotonic_ns;
use crate::lines::Lines;
use crate::process::Bounded;

/// Longest time for an answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// What it prints after each answer.
const END: &str = "-- end of the answer";

/// `psql` that reads its commands from us.
#[derive(Debug)]
pub struct Session {
    _process: Bounded,
    stdin: ChildStdin,
    stdout: Lines,
    /// Process id of its backend.
    pub backend: u32,
}

/// What the server says of its clients at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// CLOCK_MONOTONIC.
    pub at_ns: u64,
    /// Clients that wait for a lock that `pg_locks` lists, by `pg_stat_activity`.
    pub lock: u64,
    /// Those by `pg_locks`.
    pub not_granted: u64,
    /// Clients that wait for one of the server's own locks.
    pub internal: u64,
    /// Whether a certain client is idle in a transaction.
    pub idle: bool,
}

impl Session {
    pub(super) fn start(psql: &mut Command) -> Result<Self> {
        psql.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Bounded::spawn(psql)?;
        let stdin = process.child().stdin.take().context("no stdin")?;
        let stdout = Lines::of(process.child().stdout.take().context("no stdout")?);
        let mut session = Self { _process: process, stdin, stdout, backend: 0 };
        let answer = session.ask("SELECT pg_backend_pid();")?;
        session.backend = answer.first().context("no backend")?.parse()?;
        Ok(session)
    }

    /// Sends commands, and waits until all are done.
    pub fn ask(&mut self, commands: &str) -> Result<Vec<String>> {
        self.tell(commands)?;
        self.answer()
    }

    /// Sends commands, and does not wait.
    fn tell(&mut self, commands: &str) -> Result<()> {
        writeln!(self.stdin, "{commands}\n\\echo {END}").context("psql is gone")
    }

    fn answer(&self) -> Result<Vec<String>> {
        let mut answer = Vec::new();
        let end = |line: &str| line == END;
        self.stdout.find(PATIENCE, end, |line| answer.push(line)).context("no answer")?;
        Ok(answer)
    }

    /// Samples all other clients for some seconds, a hundred times a second; [`Self::ticks`] gives
    /// the samples. `watched` is the backend of the client of [`Tick::idle`].
    pub fn sample(&mut self, watched: u32, seconds: u32) -> Result<()> {
        // One transaction, and nothing written: the sampler waits for nobody, and nobody for it.
        let function = "CREATE FUNCTION pg_temp.sample(watched int, ticks int) RETURNS SETOF text \
            LANGUAGE plpgsql AS $$ BEGIN FOR i IN 1..ticks LOOP \
            PERFORM pg_stat_clear_snapshot(); \
            RETURN NEXT (SELECT concat_ws(' ', \
                (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, \
                count(*) FILTER (WHERE wait_event_type = 'Lock'), \
                (SELECT count(*) FROM pg_locks WHERE NOT granted), \
                count(*) FILTER (WHERE wait_event_type = 'LWLock'), \
                coalesce(bool_or(pid = watched AND state = 'idle in transaction'), false)::int) \
                FROM pg_stat_activity \
                WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()); \
            PERFORM pg_sleep(0.01); END LOOP; END $$;";
        self.ask(function)?;
        self.tell(&format!("SELECT pg_temp.sample({watched}, {});", 100 * seconds))
    }

    /// The samples between two instants (CLOCK_MONOTONIC).
    pub fn ticks(&self, start_ns: u64, end_ns: u64) -> Result<Vec<Tick>> {
        let answer = self.answer()?;
        let (realtime_ns, now_ns) = (realtime_ns()?, monotonic_ns());
        let ticks = answer.iter().map(|line| {
            let mut tick = parse(line).with_context(|| format!("not a sample: {line}"))?;
            tick.at_ns = (now_ns + tick.at_ns).saturating_sub(realtime_ns);
            Ok(tick)
        });
        let mut ticks: Vec<Tick> = ticks.collect::<Result<_>>()?;
        let covered = ticks
            .first()
            .zip(ticks.last())
            .is_some_and(|(first, last)| first.at_ns < start_ns && last.at_ns > end_ns);
        ensure!(covered, "the samples do not cover the window");
        ticks.retain(|tick| (start_ns..end_ns).contains(&tick.at_ns));
        Ok(ticks)
    }
}

/// Time that all clients together spent in what `pick` counts: each sample stands for the time until
/// the next one.
pub fn waited_ns(ticks: &[Tick], end_ns: u64, pick: impl Fn(&Tick) -> u64) -> u64 {
    let next = ticks.iter().skip(1).map(|tick| tick.at_ns).chain([end_ns]);
    ticks.iter().zip(next).map(|(tick, next_ns)| pick(tick) * (next_ns - tick.at_ns)).sum()
}

/// With the time of day in the place of CLOCK_MONOTONIC.
fn parse(line: &str) -> Option<Tick> {
    let mut numbers = line.split(' ').map(str::parse::<u64>);
    let mut next = || numbers.next()?.ok();
    let at_ns = next()? * 1000;
    Some(Tick { at_ns, lock: next()?, not_granted: next()?, internal: next()?, idle: next()? == 1 })
}

fn realtime_ns() -> Result<u64> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(now.as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_stand_for_the_time_until_the_next() {
        let tick = |at_ns, lock| Tick { at_ns, lock, not_granted: 0, internal: 0, idle: false };
        let ticks = [tick(10, 2), tick(20, 1), tick(50, 3)];
        assert_eq!(waited_ns(&ticks, 60, |tick| tick.lock), 20 + 30 + 30);
    }

    #[test]
    fn a_line_is_a_sample() {
        let expected = Tick { at_ns: 5_000, lock: 4, not_granted: 3, internal: 2, idle: true };
        assert_eq!(parse("5 4 3 2 1"), Some(expected));
        assert_eq!(parse("5 4 3 2"), None);
    }
}
