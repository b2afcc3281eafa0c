//! Where something lies in a program or library, for whoever names it later, perhaps on another machine.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Tells a build of a program or library from all others: what the linker has put into it
/// (`NT_GNU_BUILD_ID`, `ld --build-id`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BuildId(Vec<u8>);

impl BuildId {
    /// Fewest and most bytes: shorter ones are not unique, longer ones nobody makes.
    const SIZES: std::ops::RangeInclusive<usize> = 8..=64;

    /// From its bytes; none if that is no build id.
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        Self::SIZES.contains(&bytes.len()).then_some(Self(bytes))
    }

    /// From two digits for each byte.
    pub fn parse(hex: &str) -> Option<Self> {
        let digits = hex.as_bytes();
        let bytes = digits.chunks(2).map(|pair| match pair {
            [high, low] => Some((digit(*high)? << 4) | digit(*low)?),
            _ => None,
        });
        Self::new(bytes.collect::<Option<_>>()?)
    }

    /// Where folders of debug information have the file of this build, without its extension:
    /// `ab/cdef…` (GDB manual, "Debugging Information in Separate Files").
    pub fn file_name(&self) -> String {
        let hex = self.to_string();
        let (first, rest) = hex.split_at(2);
        format!("{first}/{rest}")
    }
}

fn digit(character: u8) -> Option<u8> {
    char::from(character).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

impl fmt::Display for BuildId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl From<BuildId> for String {
    fn from(id: BuildId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for BuildId {
    type Error = &'static str;

    fn try_from(hex: String) -> Result<Self, Self::Error> {
        Self::parse(&hex).ok_or("that is no build id")
    }
}

/// A program or library that a process had mapped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CodeFile {
    /// Its path, as the process saw it.
    pub path: String,
    /// Its build.
    pub build_id: BuildId,
}

/// A place in such a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CodeAddress {
    /// The file.
    pub file: Arc<CodeFile>,
    /// The virtual address that its symbols go by.
    pub address: u64,
}

/// Addresses of a build that have no names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nameless {
    /// Where its file was.
    pub paths: BTreeSet<String>,
    /// Virtual addresses of code.
    pub code: BTreeSet<u64>,
    /// Virtual addresses of variables.
    pub data: BTreeSet<u64>,
}

/// What a file names of that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Functions at an address, innermost first, each with whether it is inlined into the next.
    pub functions: HashMap<u64, Vec<(String, bool)>>,
    /// Variables, and the bytes from their start to the address.
    pub variables: HashMap<u64, (String, u64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_ids_are_written_in_hexadecimal() {
        let id = BuildId::parse("0123456789aBcDeF").unwrap();
        assert_eq!(id.to_string(), "0123456789abcdef");
        assert_eq!(id.file_name(), "01/23456789abcdef");
        for wrong in [
            "",
            "01",
            "0123456789abcde",
            "0123456789abcdeg",
            "../../../../etc/a",
            "é12345678901234",
        ] {
            assert_eq!(BuildId::parse(wrong), None, "{wrong}");
        }
        assert_eq!(BuildId::parse(&"00".repeat(65)), None);
        assert!(BuildId::parse(&"00".repeat(64)).is_some());
    }
}
