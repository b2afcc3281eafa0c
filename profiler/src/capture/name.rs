//! Gives names to what had none when it was recorded.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::thing::{self, Kind, ThingId};
use super::things::{CodeFiles, Thing, Things};
use crate::model::{BuildId, CodeAddress, Nameless, Names, Place};

/// Bytes of names that are put into stacks at most. A hostile file could have the same few functions inlined
/// at each of millions of frames.
const MOST_ADDED: usize = 256 << 20;

/// Addresses without names, by build.
///
/// # Errors
/// When a thing is not what it has to be.
pub fn nameless(things: &Things) -> Result<BTreeMap<BuildId, Nameless>> {
    let mut all = BTreeMap::new();
    let mut files = CodeFiles::default();
    for thing in candidates(things) {
        if thing.kind == Kind::Stack {
            let stack: thing::Stack = parse(thing)?;
            for (place, file, address) in stack.unnamed {
                ensure!(place < stack.frames.len(), "a stack lacks a frame that has no name");
                let at = files.place(things, file, address)?;
                of_build(&mut all, &at).code.insert(address);
            }
        } else if let Some((file, address)) = parse::<thing::Futex>(thing)?.unnamed {
            let at = files.place(things, file, address)?;
            of_build(&mut all, &at).data.insert(address);
        }
    }
    Ok(all)
}

fn of_build<'a>(all: &'a mut BTreeMap<BuildId, Nameless>, at: &CodeAddress) -> &'a mut Nameless {
    let of_build = all.entry(at.file.build_id.clone()).or_default();
    if !of_build.paths.contains(&at.file.path) {
        of_build.paths.insert(at.file.path.clone());
    }
    of_build
}

/// Stacks and futexes, if anything in the recording has no name.
fn candidates(things: &Things) -> impl Iterator<Item = &Thing> {
    let is_any = things.values().any(|thing| thing.kind == Kind::CodeFile);
    things.values().filter(move |thing| is_any && may_lack_names(thing))
}

fn may_lack_names(thing: &Thing) -> bool {
    matches!(thing.kind, Kind::Stack | Kind::Futex)
}

/// Puts names where they belong.
///
/// # Errors
/// When a thing is not what it has to be.
pub fn name_all(things: &mut Things, names: &HashMap<BuildId, Names>) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let of_code = things.iter().filter(|(_, thing)| thing.kind == Kind::CodeFile);
    let code_files: Things = of_code.map(|(id, thing)| (*id, thing.clone())).collect();
    let mut naming = Naming { code_files, files: CodeFiles::default(), names, room: MOST_ADDED };
    for thing in things.values_mut().filter(|thing| may_lack_names(thing)) {
        match thing.kind {
            Kind::Stack => naming.stack(thing)?,
            _ => naming.futex(thing)?,
        }
    }
    Ok(())
}

struct Naming<'a> {
    code_files: Things,
    files: CodeFiles,
    names: &'a HashMap<BuildId, Names>,
    /// Bytes that names may still take.
    room: usize,
}

impl Naming<'_> {
    /// The address, and what is known of its build.
    fn names_at(&mut self, file: ThingId, address: u64) -> Result<Option<&Names>> {
        let at = self.files.place(&self.code_files, file, address)?;
        Ok(self.names.get(&at.file.build_id))
    }

    fn stack(&mut self, thing: &mut Thing) -> Result<()> {
        let mut stack: thing::Stack = parse(thing)?;
        if stack.unnamed.is_empty() {
            return Ok(());
        }
        let unnamed = std::mem::take(&mut stack.unnamed).into_iter();
        let unnamed: HashMap<usize, (ThingId, u64)> =
            unnamed.map(|(place, file, address)| (place, (file, address))).collect();
        let mut frames = Vec::with_capacity(stack.frames.len());
        for (place, frame) in stack.frames.into_iter().enumerate() {
            let Some((file, address)) = unnamed.get(&place).copied() else {
                frames.push(frame);
                continue;
            };
            let room = self.room;
            let known =
                self.names_at(file, address)?.and_then(|names| names.functions.get(&address));
            let length = |functions: &Vec<(String, bool)>| -> usize {
                functions
                    .iter()
                    .map(|(name, _)| name.len() + size_of::<(String, u64, bool)>())
                    .sum()
            };
            let known = known.map(|functions| (functions, length(functions)));
            let Some((functions, length)) = known.filter(|(_, length)| *length <= room) else {
                stack.unnamed.push((frames.len(), file, address));
                frames.push(frame);
                continue;
            };
            let (_, at, _) = frame;
            frames.extend(functions.iter().map(|(name, inlined)| (name.clone(), at, *inlined)));
            self.room -= length;
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
        let known = self.names_at(file, address)?.and_then(|names| names.variables.get(&address));
        let Some((name, offset)) = known.cloned() else { return Ok(()) };
        futex.place = Place::Variable { module: module.clone(), name, offset };
        futex.unnamed = None;
        put(thing, &futex)
    }
}

fn parse<T: DeserializeOwned>(thing: &Thing) -> Result<T> {
    serde_json::from_str(&thing.body)
        .with_context(|| format!("a {} cannot be read", thing.kind.word()))
}

fn put(thing: &mut Thing, body: &impl Serialize) -> Result<()> {
    thing.body = serde_json::to_string(body)?;
    Ok(())
}
