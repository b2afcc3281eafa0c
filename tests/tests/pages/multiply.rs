//! Makes a recording with many different waits from one with few, as docs/recording.md describes the file.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use rusqlite::Connection;
use serde_json::{Value, json};

/// Functions of a copy's stack.
const FRAMES: usize = 14;

/// Figures of a thing by their index.
type Figures = BTreeMap<u64, i64>;

/// Adds copies of the longest wait for a futex until there are so many different ones: each for a futex of its
/// own, from a place of its own.
pub fn waits(file: &Path, number: i64) -> Result<()> {
    let mut database = Connection::open(file)?;
    let (last, blob): (i64, Vec<u8>) = database.query_row(
        "SELECT id, figures FROM slice ORDER BY id DESC LIMIT 1",
        (),
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let (wait, body) = longest(&database)?;
    let figures = sum(&database, wait)?;
    let stack = body["stack"].as_i64().context("a wait without a stack")?;
    let frames: String =
        database.query_row("SELECT body FROM thing WHERE id = ?", [stack], |row| row.get(0))?;
    let frames: Value = serde_json::from_str(&frames)?;
    let mut next: i64 =
        database.query_row("SELECT max(id) + 1 FROM thing", (), |row| row.get(0))?;
    let mut changes = decode(&inflate(&blob)?)?;
    let transaction = database.transaction()?;
    {
        let mut insert =
            transaction.prepare("INSERT INTO thing (id, kind, body) VALUES (?, ?, ?)")?;
        for copy in 0..number {
            insert.execute((next, "stack", renamed(&frames, copy)?.to_string()))?;
            let mut body = body.clone();
            body["stack"] = json!(next);
            body["row"] = json!(copy + 1);
            body["object"]["futex"]["address"] = json!(0x10_0000 + copy * 64);
            insert.execute((next + 1, "wait", body.to_string()))?;
            changes.insert(u64::try_from(next + 1)?, figures.clone());
            next += 2;
        }
    }
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&encode(&changes))?;
    let blob = encoder.finish()?;
    transaction.execute("UPDATE slice SET figures = ? WHERE id = ?", (blob, last))?;
    transaction.commit()?;
    Ok(())
}

/// Each copy has a caller and an innermost function of its own.
fn renamed(stack: &Value, copy: i64) -> Result<Value> {
    let mut stack = stack.clone();
    let frames = stack["frames"].as_array_mut().context("no frames")?;
    frames.truncate(FRAMES);
    let middle = frames.len() / 2;
    for (place, number) in [(middle, copy % 400), (0, copy)] {
        let name = frames[place][0].as_str().context("no name")?;
        frames[place][0] = json!(format!("{name}_{number}"));
    }
    Ok(stack)
}

/// The wait for a futex whose figures are the most.
fn longest(database: &Connection) -> Result<(u64, Value)> {
    let mut rows = database.prepare(
        "SELECT id, body FROM thing WHERE kind = 'wait' AND body ->> '$.kind' = 'futex'",
    )?;
    let rows = rows.query_map((), |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
    let mut best: Option<(i64, u64, Value)> = None;
    for row in rows {
        let (id, body) = row?;
        let id = u64::try_from(id)?;
        let most = sum(database, id)?.values().copied().max().unwrap_or(0);
        if best.as_ref().is_none_or(|(known, ..)| most > *known) {
            best = Some((most, id, serde_json::from_str(&body)?));
        }
    }
    best.map(|(_, id, body)| (id, body)).context("nobody waited for a futex")
}

/// A thing's figures at the end.
fn sum(database: &Connection, thing: u64) -> Result<Figures> {
    let mut slices = database.prepare("SELECT figures FROM slice ORDER BY id")?;
    let slices = slices.query_map((), |row| row.get::<_, Vec<u8>>(0))?;
    let mut figures = Figures::new();
    for slice in slices {
        for (index, change) in decode(&inflate(&slice?)?)?.remove(&thing).unwrap_or_default() {
            let figure = figures.entry(index).or_default();
            *figure = figure.wrapping_add(change);
        }
    }
    Ok(figures)
}

fn inflate(blob: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    DeflateDecoder::new(blob).read_to_end(&mut bytes).context("no DEFLATE")?;
    Ok(bytes)
}

fn decode(mut bytes: &[u8]) -> Result<BTreeMap<u64, Figures>> {
    let mut things = BTreeMap::new();
    let mut thing = 0_u64;
    while !bytes.is_empty() {
        thing += number(&mut bytes)?;
        let mut figures = Figures::new();
        let mut index = 0;
        for _ in 0..number(&mut bytes)? {
            index += number(&mut bytes)?;
            let zigzag = number(&mut bytes)?;
            let change = (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed();
            figures.insert(index, change);
        }
        things.insert(thing, figures);
    }
    Ok(things)
}

fn encode(things: &BTreeMap<u64, Figures>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut before = 0;
    for (thing, figures) in things {
        push(&mut bytes, thing - before);
        before = *thing;
        push(&mut bytes, figures.len() as u64);
        let mut last = 0;
        for (index, change) in figures {
            push(&mut bytes, index - last);
            last = *index;
            push(&mut bytes, ((change << 1) ^ (change >> 63)).cast_unsigned());
        }
    }
    bytes
}

fn number(bytes: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().context("cut off")?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok(value);
        }
    }
    ensure!(false, "a number of more than 64 bits");
    Ok(value)
}

fn push(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}
