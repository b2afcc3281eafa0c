//! The standard library's mutex, contended.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use dwell_tests::clock::sleep_ns;
use serde_json::json;

use super::Stage;
use super::crew::{self, Member, hexadecimal};
use super::turns::{Turns, take_turns};

const THREADS: usize = 4;
const HELD_NS: u64 = 2_000_000;
const PAUSE_NS: u64 = 500_000;

/// The mutex is on the heap, among other things.
struct Account {
    _owner: String,
    balance: Mutex<u64>,
}

pub fn run(stage: Stage) -> Result<()> {
    let account = Arc::new(Account { _owner: "somebody".to_owned(), balance: Mutex::new(0) });
    let deposit = |deadline_ns| {
        let hold = || {
            sleep_ns(HELD_NS);
            Ok(())
        };
        take_turns(deadline_ns, PAUSE_NS, || take_std_mutex(&account), hold, drop)
    };
    let members = (0..THREADS).map(|number| Member::new(format!("std-{number}"), deposit));
    let (running, done) = crew::run(stage, members.collect())?;
    let turns = Turns::sum(done.into_iter().map(|done| done.result));
    let object = json!({
        "address": hexadecimal(&raw const account.balance as usize),
        "size": size_of_val(&account.balance), "hold_ns": turns.hold_ns(),
    });
    running.end("lock-std", turns.waits, object)
}

#[inline(never)]
fn take_std_mutex(account: &Account) -> MutexGuard<'_, u64> {
    account.balance.lock().unwrap_or_else(PoisonError::into_inner)
}
