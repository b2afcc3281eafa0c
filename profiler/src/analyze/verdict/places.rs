//! Which of the places where requests wait are waits for which lock.

use std::collections::BTreeMap;

use super::super::functions::is_lock_function;
use super::super::idle::names_any;
use super::super::locks::{By, LockRow, locks};
use super::super::requests::Set;
use crate::model::{Frame, PlaceId, Profile, State, WaitObject, WaitPlace};

/// A lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockKey {
    /// By its row.
    Row(usize),
    /// By the place that waits.
    Place(PlaceId),
}

/// The locks that requests wait for.
#[derive(Clone, Debug, Default)]
pub struct Locked {
    /// All locks of the profile, if any is wanted.
    pub rows: Vec<LockRow>,
    keys: BTreeMap<PlaceId, LockKey>,
}

impl Locked {
    /// The locks among the places of these requests.
    pub fn of(profile: &Profile, set: &Set) -> Self {
        let places = set.longest.keys().filter_map(|id| Some((*id, profile.requests.place(*id)?)));
        let candidates: Vec<_> = places.filter(|(_, place)| may_be_lock(place)).collect();
        if candidates.is_empty() {
            return Self::default();
        }
        let rows = locks(profile, By::Lock);
        let keys = candidates.into_iter().filter_map(|(id, place)| {
            let row = rows.iter().position(|row| is_place_of(row, place));
            let key = match row {
                // Inside a request nobody waits for work: who ended the wait is whom it waited for.
                Some(row) if rows[row].is_contention() || place.reason.is_some() => {
                    LockKey::Row(row)
                }
                Some(_) => return None,
                None if is_surely_lock(place) => LockKey::Place(id),
                None => return None,
            };
            Some((id, key))
        });
        let keys = keys.collect();
        Self { rows, keys }
    }

    /// The lock that is waited for there; none if it is none.
    pub fn key(&self, place: PlaceId) -> Option<LockKey> {
        self.keys.get(&place).copied()
    }
}

fn may_be_lock(place: &WaitPlace) -> bool {
    matches!(place.kind, State::Futex | State::FileLock | State::Kernel) || is_surely_lock(place)
}

fn is_surely_lock(place: &WaitPlace) -> bool {
    let by_operation = matches!(place.object, WaitObject::Futex { op, .. } if op.is_lock());
    by_operation || place.kind == State::FileLock || names_any(&place.stack, is_lock_function)
}

fn is_place_of(row: &LockRow, place: &WaitPlace) -> bool {
    let is_address = match place.object {
        WaitObject::Futex { address, .. } => row.address == Some(address),
        _ => false,
    };
    let same = |stack: &[Frame]| {
        stack.iter().map(|frame| &frame.name).eq(place.stack.iter().map(|frame| &frame.name))
    };
    let is_site = || !place.stack.is_empty() && row.sites.iter().any(|site| same(&site.stack));
    let is_process = row.pids.contains(&place.pid);
    // Each waiter of parking_lot or PostgreSQL waits on a futex of its own.
    is_process && (is_address || (row.address.is_none() && is_site()))
}
