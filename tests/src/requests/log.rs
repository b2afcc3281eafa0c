//! What servers and clients note of each request: one line each, the same for who writes it and
//! who reads it.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, Error, Result};

/// A request, as the server that answered it saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// Just before the read(2) that completed it (CLOCK_MONOTONIC).
    pub reading_ns: u64,
    /// Just after it.
    pub received_ns: u64,
    /// When the thread that answered it began with it; later than the receipt where it was handed
    /// over, or came together with another one.
    pub began_ns: u64,
    /// Just before the write(2) of its answer.
    pub sending_ns: u64,
    /// Just after it.
    pub sent_ns: u64,
    /// CPU time of the thread that answered it, in between.
    pub cpu_ns: u64,
    /// Wall time of what its plan is about: the spinning, the sleep, the wait for the lock (not the
    /// hold), the calls, the flush.
    pub part_ns: u64,
    /// Its connection, counted from 0 in the order in which the server accepted them.
    pub connection: u32,
    /// The thread that answered it.
    pub tid: u32,
    /// Its path, with everything escaped that is not printable.
    pub path: String,
}

/// A request, as the client that got its answer saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Counted from 0.
    pub number: u64,
    /// Its connection, counted from 0.
    pub connection: u32,
    /// When it was to be sent: later than the answer before it where nobody sets a pace, else by that
    /// pace.
    pub due_ns: u64,
    /// Just before its write(2) (CLOCK_MONOTONIC).
    pub sent_ns: u64,
    /// Just after the read(2) that completed the answer (CLOCK_MONOTONIC).
    pub received_ns: u64,
    /// Its path, escaped as in [`Served`].
    pub path: String,
}

impl Served {
    /// From the receipt of the request to the end of the answer: what the server itself can know.
    pub fn latency_ns(&self) -> u64 {
        self.sent_ns.saturating_sub(self.received_ns)
    }

    /// How long it can have taken from the end of the one call to the end of the other, inside the kernel: a
    /// server that loses its CPU beside its clock does not know better. Of use where the read did not wait.
    pub fn bounds_ns(&self) -> RangeInclusive<u64> {
        let least = self.sending_ns.saturating_sub(self.received_ns);
        least..=self.sent_ns.saturating_sub(self.reading_ns).max(least)
    }

    /// Between the receipt and the beginning.
    pub fn handover_ns(&self) -> u64 {
        self.began_ns.saturating_sub(self.received_ns)
    }
}

impl Asked {
    /// From the request to the end of the answer.
    pub fn latency_ns(&self) -> u64 {
        self.received_ns.saturating_sub(self.sent_ns)
    }
}

/// A path as the logs have it: one word of printable ASCII.
pub fn escape(path: &[u8]) -> String {
    path.escape_ascii().to_string()
}

impl fmt::Display for Served {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { reading_ns, received_ns, began_ns, sending_ns, sent_ns, .. } = self;
        let Self { cpu_ns, part_ns, connection, tid, path, .. } = self;
        write!(f, "{reading_ns} {received_ns} {began_ns} {sending_ns} {sent_ns} ")?;
        write!(f, "{cpu_ns} {part_ns} {connection} {tid} {path}")
    }
}

impl FromStr for Served {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self> {
        let mut words = Words(line);
        Ok(Self {
            reading_ns: words.number()?,
            received_ns: words.number()?,
            began_ns: words.number()?,
            sending_ns: words.number()?,
            sent_ns: words.number()?,
            cpu_ns: words.number()?,
            part_ns: words.number()?,
            connection: words.number()?,
            tid: words.number()?,
            path: words.last()?,
        })
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { number, connection, due_ns, sent_ns, received_ns, path } = self;
        write!(f, "{number} {connection} {due_ns} {sent_ns} {received_ns} {path}")
    }
}

impl FromStr for Asked {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self> {
        let mut words = Words(line);
        Ok(Self {
            number: words.number()?,
            connection: words.number()?,
            due_ns: words.number()?,
            sent_ns: words.number()?,
            received_ns: words.number()?,
            path: words.last()?,
        })
    }
}

/// What is left of a line.
struct Words<'a>(&'a str);

impl Words<'_> {
    fn number<T: FromStr<Err = std::num::ParseIntError>>(&mut self) -> Result<T> {
        let (word, rest) = self.0.split_once(' ').context("too few words")?;
        self.0 = rest;
        word.parse().with_context(|| format!("not a number: {word}"))
    }

    fn last(self) -> Result<String> {
        let is_word = !self.0.is_empty() && self.0.bytes().all(|byte| byte.is_ascii_graphic());
        is_word.then(|| self.0.to_owned()).context("not a path")
    }
}

/// All lines of a log.
pub fn read<T: FromStr<Err = Error>>(path: &Path) -> Result<Vec<T>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("no log at {path:?}"))?;
    parse(&text)
}

fn parse<T: FromStr<Err = Error>>(text: &str) -> Result<Vec<T>> {
    let row = |(index, line): (usize, &str)| {
        line.parse().with_context(|| format!("line {} of the log: {line}", index + 1))
    };
    text.lines().enumerate().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served() -> Served {
        Served {
            reading_ns: 8,
            received_ns: 10,
            began_ns: 12,
            sending_ns: 27,
            sent_ns: 30,
            cpu_ns: 7,
            part_ns: 5,
            connection: 3,
            tid: 99,
            path: escape(b"/\x1b[2J\xff\0\n"),
        }
    }

    #[test]
    fn what_is_written_is_read() -> Result<()> {
        let row = served();
        assert_eq!(row.to_string().parse::<Served>()?, row);
        assert_eq!((row.latency_ns(), row.handover_ns()), (20, 2));
        let path = "/5".to_owned();
        let row = Asked { number: 5, connection: 1, due_ns: 0, sent_ns: 4, received_ns: 9, path };
        assert_eq!(row.to_string().parse::<Asked>()?, row);
        assert_eq!(row.latency_ns(), 5);
        Ok(())
    }

    #[test]
    fn a_path_is_one_printable_word() {
        assert_eq!(served().path, r"/\x1b[2J\xff\x00\n");
    }

    #[test]
    fn what_is_no_row_is_refused_with_its_line() {
        let good = served().to_string();
        for bad in ["", "1 2 3", "1 2 3 4 5 6 7 ", "1 2 3 4 5 6 -7 /", "1 2 3 4 5 6 7 / /"] {
            assert!(bad.parse::<Served>().is_err(), "{bad}");
            let error = parse::<Served>(&format!("{good}\n{bad}\n")).unwrap_err();
            assert!(error.to_string().starts_with("line 2 of the log"), "{error}");
        }
        assert_eq!(parse::<Served>("").unwrap(), []);
    }
}
