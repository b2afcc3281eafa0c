//! Turns the linker's names of Rust and C++ functions into those that people wrote.

use std::fmt::{self, Write};

use super::clean::clean;

/// Longest name given, in bytes.
///
/// A C++ name can refer back to its own parts, so that a name of a few hundred bytes stands for
/// terabytes; a hostile file would use that.
const LONGEST: usize = 4096;

/// The name to show for a symbol: demangled where it is mangled, without glibc's mark for internal
/// aliases, safe for a terminal, never longer than 4,096 characters and a mark.
pub(super) fn demangle(symbol: &str) -> String {
    let symbol = symbol.strip_prefix("__GI_").unwrap_or(symbol);
    let name = demangle_rust(symbol).or_else(|| demangle_cpp(symbol));
    clean(name.as_deref().unwrap_or(symbol).as_bytes())
}

/// Demangles a Rust name, without its hash.
fn demangle_rust(symbol: &str) -> Option<String> {
    let demangled = rustc_demangle::try_demangle(symbol).ok()?;
    let mut name = Bounded::default();
    let result = write!(name, "{demangled:#}");
    name.finish(result)
}

/// Demangles a C++ name, with its parameters.
fn demangle_cpp(symbol: &str) -> Option<String> {
    let symbol =
        symbol.starts_with("_Z").then_some(symbol).filter(|symbol| symbol.len() <= LONGEST)?;
    let parsed = cpp_demangle::Symbol::new(symbol).ok()?;
    let mut name = Bounded::default();
    let result = parsed.structured_demangle(&mut name, &cpp_demangle::DemangleOptions::new());
    name.finish(result)
}

/// A text that refuses to grow beyond [`LONGEST`].
#[derive(Default)]
struct Bounded {
    text: String,
    full: bool,
}

impl Bounded {
    /// The text if it is complete, or cut with a mark if it was too long; nothing if it is broken.
    fn finish(mut self, result: fmt::Result) -> Option<String> {
        if self.full {
            self.text.push('…');
        }
        (self.full || result.is_ok()).then_some(self.text)
    }
}

impl Write for Bounded {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        if self.text.len() + part.len() > LONGEST {
            self.full = true;
            return Err(fmt::Error);
        }
        self.text.push_str(part);
        Ok(())
    }
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demangles_rust_and_cpp_and_leaves_c_alone() {
        assert_eq!(
            demangle("_ZN4core3fmt5Write9write_str17h0123456789abcdefE"),
            "core::fmt::Write::write_str"
        );
        assert_eq!(demangle("_RNvCskwGfYPst2Cb_3foo3bar"), "foo::bar");
        assert_eq!(
            demangle("_ZNSt6vectorIiSaIiEE9push_backEOi"),
            "std::vector<int, std::allocator<int> >::push_back(int&&)"
        );
        assert_eq!(demangle("WaitEventSetWait"), "WaitEventSetWait");
        assert_eq!(demangle("__GI___clock_nanosleep"), "__clock_nanosleep");
        assert_eq!(demangle("_Z"), "_Z");
    }

    #[test]
    fn a_name_that_refers_back_to_itself_stays_short() {
        // Each argument is a pair of the argument before: 2^40 names when written out. Every type
        // takes two numbers for references back, its template's and its own.
        let mut symbol = "_Z1f1AIiiE".to_owned();
        for depth in 0..40 {
            let back = in_base_36(2 * depth);
            symbol.push_str(&format!("1BIS{back}_S{back}_E"));
        }
        let name = demangle(&symbol);
        assert!(name.starts_with("f(A<int, int>, B<A<int, int>, A<int, int> >,"));
        assert!(name.ends_with('…') && name.len() <= LONGEST + 8);
    }

    fn in_base_36(number: u32) -> String {
        let digit = |value| char::from_digit(value, 36).unwrap().to_ascii_uppercase();
        if number < 36 {
            return digit(number).to_string();
        }
        [digit(number / 36), digit(number % 36)].iter().collect()
    }

    #[test]
    fn survives_garbage() {
        for symbol in ["", "_R", "_ZN", "_ZNSt", "_ZN9999999999999999999999E", "_ZTv0_n12_N"] {
            demangle(symbol);
        }
        demangle(&"_ZN1A".repeat(100_000));
    }
}
