//! Gives names to what had none when it was recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::restore::{CodeFiles, Thing, Things};
use super::thing::{self, Kind, ThingId};
use crate::model::{CodeAddress, CodeFile, Place};

/// Who knows names.
pub trait Namer {
    /// The functions at an address, innermost first, each with whether it is inlined into the next; none
    /// if nobody knows.
    fn functions(&mut self, code: &CodeAddress) -> Vec<(String, bool)>;
    /// The variable at an address, and the bytes from its start.
    fn variable(&mut self, code: &CodeAddress) -> Option<(String, u64)>;
    /// Another stack or lock has been dealt with.
    fn step(&mut self) {}
}

/// What a recording has no names for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unnamed {
    /// Addresses of code, by file.
    pub files: BTreeMap<Arc<CodeFile>, BTreeSet<u64>>,
}

impl Unnamed {
    fn note(&mut self, code: CodeAddress) {
        self.files.entry(code.file).or_default().insert(code.address);
    }
}

/// How many stacks and locks have something without a name.
pub fn count(things: &Things) -> usize {
    // A recording in which all is named has no file of code at all.
    if !things.values().any(|thing| thing.kind == Kind::CodeFile) {
        return 0;
    }
    things.values().filter(|thing| matches!(thing.kind, Kind::Stack | Kind::Futex)).count()
}

/// Names what can be named, in place.
///
/// # Errors
/// When a thing is not what it has to be.
pub fn name_all(things: &mut Things, namer: &mut dyn Namer) -> Result<Unnamed> {
    let mut unnamed = Unnamed::default();
    if count(things) == 0 {
        return Ok(unnamed);
    }
    let files: Things = things
        .iter()
        .filter(|(_, thing)| thing.kind == Kind::CodeFile)
        .map(|(id, thing)| (*id, thing.clone()))
        .collect();
    let mut naming =
        Naming { things: files, files: CodeFiles::default(), namer, unnamed: &mut unnamed };
    for (id, thing) in things.iter_mut() {
        let named = match thing.kind {
            Kind::Stack => naming.stack(thing),
            Kind::Futex => naming.futex(thing),
            _ => continue,
        };
        named.with_context(|| format!("thing {id}"))?;
        naming.namer.step();
    }
    Ok(unnamed)
}

struct Naming<'a> {
    things: Things,
    files: CodeFiles,
    namer: &'a mut dyn Namer,
    unnamed: &'a mut Unnamed,
}

impl Naming<'_> {
    fn stack(&mut self, thing: &mut Thing) -> Result<()> {
        let mut stack: thing::Stack = parse(thing)?;
        if stack.unnamed.is_empty() {
            return Ok(());
        }
        let mut code: BTreeMap<usize, (ThingId, u64)> = BTreeMap::new();
        for (place, file, address) in std::mem::take(&mut stack.unnamed) {
            code.insert(place, (file, address));
        }
        let mut frames = Vec::with_capacity(stack.frames.len());
        for (place, frame) in stack.frames.into_iter().enumerate() {
            let Some((file, address)) = code.get(&place).copied() else {
                frames.push(frame);
                continue;
            };
            let at = self.files.place(&self.things, file, address)?;
            let names = self.namer.functions(&at);
            if names.is_empty() {
                self.unnamed.note(at);
                stack.unnamed.push((frames.len(), file, address));
                frames.push(frame);
                continue;
            }
            let (_, at, _) = frame;
            frames.extend(names.into_iter().map(|(name, inlined)| (name, at, inlined)));
        }
        stack.frames = frames;
        put(thing, &stack)
    }

    fn futex(&mut self, thing: &mut Thing) -> Result<()> {
        let mut futex: thing::Futex = parse(thing)?;
        let (Some((file, address)), Place::Module { module, .. }) = (futex.unnamed, &futex.place)
        else {
            return Ok(());
        };
        let at = self.files.place(&self.things, file, address)?;
        // Most variables have no symbol in any file: what lies on no variable is not missed.
        let Some((name, offset)) = self.namer.variable(&at) else { return Ok(()) };
        futex.place = Place::Variable { module: module.clone(), name, offset };
        futex.unnamed = None;
        put(thing, &futex)
    }
}

fn parse<T: DeserializeOwned>(thing: &Thing) -> Result<T> {
    serde_json::from_str(&thing.body).context("is not what it has to be")
}

fn put(thing: &mut Thing, body: &impl Serialize) -> Result<()> {
    thing.body = serde_json::to_string(body)?;
    Ok(())
}
