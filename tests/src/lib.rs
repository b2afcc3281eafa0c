//! The harness that holds `dwell` against programs whose truth is known.
//!
//! - [`dwell`] starts the binary and reads its document ([`document`]);
//! - [`fixtures`] compiles the small programs in C;
//! - [`books`] checks that a document's sums balance;
//! - [`locks`] checks that its rows of locks add up;
//! - [`observed`] puts what dwell saw of locks beside what a workload measured;
//! - [`schedstat`] asks the kernel's own accounting the same question;
//! - [`gdb`] says where blocked threads stand;
//! - [`half_cpu`] holds a process back;
//! - [`workload`] drives the programs under `src/workloads`, which measure their own waits;
//! - [`servers`] starts real servers and the programs that load them;
//! - [`browser`] opens pages in Chromium;
//! - [`python`] finds Python with the packages of the tests;
//! - [`recording`] makes recordings, and has them reported and compared;
//! - [`requests`] starts servers and clients that note each request;
//! - [`timeline`] has timelines of requests read.

pub mod books;
pub mod bpf;
pub mod browser;
pub mod clock;
pub mod document;
pub mod dwell;
pub mod fixtures;
pub mod gdb;
pub mod half_cpu;
pub mod lines;
pub mod locks;
pub mod machine;
pub mod memory;
pub mod need;
pub mod observed;
pub mod outcome;
pub mod proc;
pub mod process;
pub mod python;
pub mod random;
pub mod recording;
pub mod requests;
pub mod schedstat;
pub mod servers;
pub mod terminal;
pub mod timeline;
pub mod tolerance;
pub mod workload;

pub use python::python;
