//! What the probes in the kernel and the collector in user space both know.
//!
//! Everything here crosses the border between the two as plain bytes: `#[repr(C)]`, no padding
//! that is not named, and sizes asserted, so that a change on one side cannot be read as
//! something else on the other.
#![no_std]

pub mod blame;
pub mod control;
pub mod event;
pub mod histogram;
pub mod kernel;
pub mod lock;
pub mod object;
pub mod state;
pub mod syscall;
pub mod thread;
pub mod turn;
pub mod unwind;
pub mod wait;
