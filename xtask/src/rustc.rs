//! The compiler as cargo sees it while it builds the eBPF object (`RUSTC_WRAPPER`).
//!
//! Cargo hands each crate a hash that depends on cargo's version and, for a path dependency
//! outside the workspace, on the folder of the checkout; it ends up in symbol names and in the
//! order of functions. The same goes for the folder of a crate's sources, whose name depends on
//! the registry or mirror it came from. Both are replaced by names that depend on neither.

use std::{
    env,
    ffi::{OsStr, OsString},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Error, anyhow};

/// Set in the environment to the root of the checkout when this program is run as the compiler.
pub const WRAPPED: &str = "DWELL_XTASK_RUSTC";

/// The crate being compiled, as cargo describes it in the environment.
struct Crate {
    folder: PathBuf,
    package: String,
    version: String,
    name: String,
}

impl Crate {
    /// Nothing when cargo only asks the compiler for its version.
    fn from_env() -> Option<Self> {
        Some(Self {
            folder: env::var_os("CARGO_MANIFEST_DIR")?.into(),
            package: env::var("CARGO_PKG_NAME").ok()?,
            version: env::var("CARGO_PKG_VERSION").ok()?,
            name: env::var("CARGO_CRATE_NAME").ok()?,
        })
    }
}

/// Becomes the compiler named in the first argument. Returns only when that fails.
pub fn replace_process(root: &Path) -> Error {
    let mut arguments = env::args_os().skip(1);
    let Some(compiler) = arguments.next() else {
        return anyhow!("{WRAPPED} is set: unset it to use `cargo xtask`");
    };
    let arguments = arguments.collect();
    let arguments = match Crate::from_env() {
        Some(subject) => neutral(root, &subject, arguments),
        None => arguments,
    };
    let error = Command::new(&compiler).args(arguments).exec();
    anyhow!("cannot run {}: {error}", compiler.display())
}

/// The compiler's arguments without traces of the machine.
fn neutral(root: &Path, subject: &Crate, arguments: Vec<OsString>) -> Vec<OsString> {
    let mut neutral: Vec<OsString> =
        arguments.into_iter().map(|argument| metadata(root, subject, argument)).collect();
    if !subject.folder.starts_with(root) {
        let mut remap = OsString::from("--remap-path-prefix=");
        remap.push(&subject.folder);
        remap.push(format!("=/remapped/{}-{}", subject.package, subject.version));
        neutral.push(remap);
    }
    neutral
}

/// Replaces cargo's hash. The version tells two releases of a dependency apart; that of dwell
/// itself stays out, so that a release does not change the object.
fn metadata(root: &Path, subject: &Crate, argument: OsString) -> OsString {
    let Crate { package, version, name, .. } = subject;
    if !is_metadata(&argument) {
        argument
    } else if subject.folder.starts_with(root) {
        format!("metadata={package}:{name}").into()
    } else {
        format!("metadata={package}:{version}:{name}").into()
    }
}

fn is_metadata(argument: &OsStr) -> bool {
    argument.as_encoded_bytes().starts_with(b"metadata=")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(folder: &str) -> Vec<OsString> {
        let subject = Crate {
            folder: folder.into(),
            package: "aya-ebpf".to_owned(),
            version: "0.2.1".to_owned(),
            name: "aya_ebpf".to_owned(),
        };
        let arguments = ["-C", "metadata=0123", "-C", "extra-filename=-0123"];
        neutral(Path::new("/checkout"), &subject, arguments.map(Into::into).to_vec())
    }

    #[test]
    fn a_dependency_is_named_by_its_version() {
        let expected = [
            "-C",
            "metadata=aya-ebpf:0.2.1:aya_ebpf",
            "-C",
            "extra-filename=-0123",
            "--remap-path-prefix=/home/cargo/aya=/remapped/aya-ebpf-0.2.1",
        ];
        assert_eq!(compile("/home/cargo/aya"), expected);
    }

    #[test]
    fn a_crate_of_the_checkout_is_not() {
        let expected = ["-C", "metadata=aya-ebpf:aya_ebpf", "-C", "extra-filename=-0123"];
        assert_eq!(compile("/checkout/aya"), expected);
    }
}
