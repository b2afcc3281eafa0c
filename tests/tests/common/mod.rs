//! What only some tests need.

pub mod multiply;
