//! Python with the packages that `cargo xtask test` installs for the tests (xtask/src/python.rs).

use std::path::{Path, PathBuf};

/// The interpreter of that environment, if it has been made: `DWELL_PYTHON`, or the one in the target folder.
pub fn python() -> Option<PathBuf> {
    let path = match std::env::var_os("DWELL_PYTHON") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/python/bin/python3"),
    };
    path.is_file().then_some(path)
}

/// The interpreter; returns from the test where there is none.
#[macro_export]
macro_rules! need_python {
    () => {
        match $crate::python() {
            Some(python) => python,
            None => {
                let reason = "needs target/python, which `cargo xtask test` makes";
                $crate::need::skip(module_path!(), reason);
                return Ok(());
            }
        }
    };
}
