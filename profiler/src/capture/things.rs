//! Things as they are read from a recording.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::thing::{Kind, ThingId};
use crate::model::{CodeAddress, CodeFile};

/// A thing that has been read.
#[derive(Clone, Debug)]
pub struct Thing {
    /// Its sort.
    pub kind: Kind,
    /// What it belongs to.
    pub parent: Option<ThingId>,
    /// JSON.
    pub body: String,
}

/// All things of a recording, in the order of their numbers.
pub type Things = BTreeMap<u32, Thing>;

/// What is written down of a thing of this sort.
pub fn body<T: for<'a> Deserialize<'a>>(things: &Things, id: ThingId, kind: Kind) -> Result<T> {
    let thing = things.get(&id.0).filter(|thing| thing.kind == kind);
    let thing = thing.with_context(|| format!("a {} is missing", kind.word()))?;
    serde_json::from_str(&thing.body).with_context(|| format!("a {} cannot be read", kind.word()))
}

/// Programs and libraries that have been read.
#[derive(Default)]
pub struct CodeFiles(HashMap<ThingId, Arc<CodeFile>>);

impl CodeFiles {
    /// A place in one of them.
    pub fn place(&mut self, things: &Things, file: ThingId, address: u64) -> Result<CodeAddress> {
        if let Some(file) = self.0.get(&file) {
            return Ok(CodeAddress { file: Arc::clone(file), address });
        }
        let read: Arc<CodeFile> = Arc::new(body(things, file, Kind::CodeFile)?);
        self.0.insert(file, Arc::clone(&read));
        Ok(CodeAddress { file: read, address })
    }
}
