//! Writes a recording.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use rusqlite::{Connection, OpenFlags, params};

use super::connect::{connect, journal};
use super::figures::Table;
use super::flatten::Flattener;
use super::format;
use super::thing::ThingId;
use crate::model::{Nanos, Profile};

/// In the table of what there is to say of a recording, its word for functions that are to be named later.
pub const NAMES: &str = "names";
/// See [`NAMES`].
pub const LATER: &str = "later";

/// What to keep.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long a slice is meant to be.
    pub slice: Duration,
    /// Forget what is older than this.
    pub keep: Option<Duration>,
    /// Functions are to be named by whoever reads it.
    pub names_later: bool,
}

/// What has been written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Slices that are in the file.
    pub slices: u64,
    /// From the beginning of the first to the end of the last.
    pub length: Duration,
    /// Size of the file.
    pub bytes: u64,
}

/// A recording that is being made.
pub struct Writer {
    path: PathBuf,
    connection: Connection,
    options: Options,
    flattener: Flattener,
    before: Table,
    /// Number and end of each slice; the first row is the beginning.
    rows: std::collections::VecDeque<(i64, Nanos)>,
}

impl Writer {
    /// Creates the file, or empties it.
    ///
    /// # Errors
    /// When it cannot be written, or there is something else than a recording.
    pub fn create(path: &Path, options: Options) -> Result<Self> {
        Self::make(path, options)
            .with_context(|| format!("cannot write {}; give another --output", path.display()))
    }

    fn make(path: &Path, options: Options) -> Result<Self> {
        let created = std::fs::File::create_new(path);
        match created {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                replace(path)?;
            }
            Err(error) => return Err(error.into()),
        }
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        // Somebody may look at it at the same time.
        connection.busy_timeout(Duration::from_secs(5))?;
        format::create(&connection)?;
        let (flattener, before) = (Flattener::new(), Table::default());
        let path = path.to_owned();
        let mut writer = Self {
            path,
            connection,
            options,
            flattener,
            before,
            rows: std::collections::VecDeque::new(),
        };
        writer.meta("dwell", env!("CARGO_PKG_VERSION"))?;
        writer.meta("slice_ns", &writer.options.slice.as_nanos().to_string())?;
        if options.names_later {
            writer.meta(NAMES, LATER)?;
        }
        Ok(writer)
    }

    fn meta(&mut self, name: &str, value: &str) -> rusqlite::Result<()> {
        self.connection
            .execute("INSERT OR REPLACE INTO meta VALUES (?1, ?2)", params![name, value])?;
        Ok(())
    }

    /// Adds what has happened since the last time, from a profile of everything so far.
    ///
    /// # Errors
    /// When it cannot be written; what was there is intact.
    pub fn add(&mut self, profile: Profile) -> Result<()> {
        let written = self.add_slice(profile).and_then(|()| self.forget_old());
        written.with_context(|| {
            let length = self.summary().length.as_secs_f64();
            format!(
                "cannot write {} any more; its first {length:.0} s are intact",
                self.path.display()
            )
        })
    }

    fn add_slice(&mut self, profile: Profile) -> Result<()> {
        let window = profile.window;
        let flat = self.flattener.flatten(profile);
        let figures = flat.table.encode_since(&self.before);
        let transaction = self.connection.transaction()?;
        if self.rows.is_empty() {
            let began = unix_ns().saturating_sub(window.duration().0 as i64);
            insert(
                &transaction,
                (0, window.start),
                began,
                &Table::default().encode_since(&self.before),
            )?;
        }
        {
            let mut statement =
                transaction.prepare("INSERT OR REPLACE INTO thing VALUES (?1, ?2, ?3, ?4)")?;
            for thing in &flat.new {
                let parent = thing.parent.map(|parent| parent.0);
                statement.execute(params![thing.id.0, thing.kind.word(), parent, thing.body])?;
            }
        }
        let next = self.rows.back().map_or(1, |(last, _)| last + 1);
        insert(&transaction, (next, window.end), unix_ns(), &figures)?;
        transaction.commit()?;
        self.before = flat.table;
        if self.rows.is_empty() {
            self.rows.push_back((0, window.start));
        }
        self.rows.push_back((next, window.end));
        Ok(())
    }

    /// Adds the slices that are too old up, into a first row with what the figures were before all others.
    fn forget_old(&mut self) -> Result<()> {
        let (Some(keep), Some((_, end))) = (self.options.keep, self.rows.back().copied()) else {
            return Ok(());
        };
        let from = end.since(Nanos(keep.as_nanos() as u64));
        let old = self.rows.iter().take_while(|(_, end)| *end <= from).count();
        // Not each time: all figures are read and written for it.
        if old < 2 || old * 10 < self.rows.len() {
            return Ok(());
        }
        let last = self.rows[old - 1].0;
        let transaction = self.connection.transaction()?;
        let mut sum = Table::default();
        {
            let mut statement =
                transaction.prepare("SELECT figures FROM slice WHERE id <= ?1 ORDER BY id")?;
            let mut rows = statement.query([last])?;
            while let Some(row) = rows.next()? {
                sum.add(row.get_ref(0)?.as_blob()?, self.flattener.last())?;
            }
        }
        // A slow request is of its own slice alone.
        let gone: HashSet<ThingId> =
            self.flattener.slow_requests().filter(|slow| !sum.of(slow.0).is_empty()).collect();
        for thing in &gone {
            transaction.execute("DELETE FROM thing WHERE id = ?1", [thing.0])?;
            sum.set(thing.0, super::figures::Figures::default());
        }
        transaction.execute("DELETE FROM slice WHERE id < ?1", [last])?;
        let bytes = sum.encode_since(&Table::default());
        transaction.execute("UPDATE slice SET figures = ?2 WHERE id = ?1", params![last, bytes])?;
        transaction.commit()?;
        for thing in &gone {
            self.before.set(thing.0, super::figures::Figures::default());
        }
        self.flattener.forget(&gone);
        self.rows.drain(..old - 1);
        Ok(())
    }

    /// Copies what is there to a file of its own.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn copy(&self, path: &Path) -> Result<()> {
        let copied = self.connection.execute("VACUUM INTO ?1", [path.to_string_lossy()]);
        copied.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(())
    }

    /// What has been written so far.
    pub fn summary(&self) -> Summary {
        let ends = self.rows.front().zip(self.rows.back());
        let length = ends.map_or(Nanos(0), |((_, start), (_, end))| end.since(*start));
        Summary {
            slices: self.rows.len().saturating_sub(1) as u64,
            length: Duration::from_nanos(length.0),
            bytes: std::fs::metadata(&self.path).map_or(0, |file| file.len()),
        }
    }
}

/// An older recording gives way; nothing else does.
fn replace(path: &Path) -> Result<()> {
    // Of the name itself: a device or a link would be gone, and a file in its place.
    let there = std::fs::symlink_metadata(path)?;
    ensure!(there.is_file(), "there is something that is no file");
    if there.len() != 0 {
        connect(path).context("there is a file that is no recording")?;
    }
    std::fs::remove_file(path)?;
    // What belonged to the older one would be put into the new one.
    match std::fs::remove_file(journal(path)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    std::fs::File::create_new(path)?;
    Ok(())
}

fn insert(
    transaction: &rusqlite::Transaction<'_>,
    (id, end): (i64, Nanos),
    unix_ns: i64,
    figures: &[u8],
) -> Result<()> {
    let mut statement = transaction.prepare("INSERT INTO slice VALUES (?1, ?2, ?3, ?4)")?;
    statement.execute(params![id, i64::try_from(end.0)?, unix_ns, figures])?;
    Ok(())
}

fn unix_ns() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}
