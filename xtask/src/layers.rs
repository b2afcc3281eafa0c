//! `cargo xtask layers`: who may import whom inside `profiler/src`.
//!
//! Looks at tokens, not at the syntax tree, so that paths inside macro calls and attributes count
//! like any other.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context, Result, anyhow, bail};
use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};

use crate::repo;

/// Which modules of dwell a module may use, besides itself.
enum May {
    UseAll,
    Use(&'static [&'static str]),
}

/// Every module right below `profiler/src`. Data flows from `kernel` to `view`; see ARCHITECTURE.md.
const MODULES: &[(&str, May)] = &[
    ("model", May::Use(&[])),
    ("kernel", May::Use(&[])),
    ("demo", May::Use(&[])),
    ("target", May::Use(&[])),
    ("doctor", May::Use(&["kernel", "target"])),
    ("collect", May::Use(&["model"])),
    ("symbol", May::Use(&["model"])),
    ("capture", May::Use(&["model"])),
    ("analyze", May::Use(&["model"])),
    ("view", May::Use(&["model", "analyze"])),
    ("session", May::Use(&["kernel", "collect", "model", "symbol", "target"])),
    ("cli", May::UseAll),
    ("main", May::UseAll),
];

/// Crates, with those named after them (`aya_obj`, `clap_complete`), that one module alone may use.
const CRATES: &[(&str, &str)] = &[("aya", "kernel"), ("clap", "cli")];

/// Checks every file and names each import that is not allowed.
pub fn run() -> Result<()> {
    let root = repo::root()?;
    let source = root.join("profiler/src");
    let mut files = Vec::new();
    list(&source, &mut files)?;
    files.sort();
    let mut broken = 0;
    for file in &files {
        let text = fs::read_to_string(file)?;
        let module = module_of(file.strip_prefix(&source)?);
        let name = file.strip_prefix(&root)?.display();
        for finding in check(&module, &text).with_context(|| format!("{name} is unreadable"))? {
            println!("{name}:{finding}");
            broken += 1;
        }
    }
    if broken > 0 {
        bail!("{broken} imports break the layers: the rules are in xtask/src/layers.rs");
    }
    println!("the layers hold in {} files", files.len());
    Ok(())
}

/// One import that is not allowed.
#[derive(Debug, PartialEq)]
struct Finding {
    line: usize,
    message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{}: {}", self.line, self.message)
    }
}

/// Appends all Rust files below a folder.
fn list(folder: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    let entries = folder.read_dir().with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
    Ok(())
}

/// The module that a file is, from its path below `src`: `kernel/load.rs` is `kernel::load`.
fn module_of(file: &Path) -> Vec<String> {
    let file = file.with_extension("");
    let mut module: Vec<String> =
        file.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if module.last().is_some_and(|name| name == "mod") {
        module.pop();
    }
    if module == ["lib"] {
        module = vec!["main".to_owned()];
    }
    module
}

/// Checks the text of one module.
fn check(module: &[String], text: &str) -> Result<Vec<Finding>> {
    let top = module.first().map_or("main", String::as_str);
    let Some((_, may)) = MODULES.iter().find(|(name, _)| *name == top) else {
        let message = format!("module {top} has no rule");
        return Ok(vec![Finding { line: 1, message }]);
    };
    let tokens = TokenStream::from_str(text).map_err(|error| anyhow!("{error}"))?;
    // What main.rs defines is the root of the crate.
    let module = if top == "main" { vec![] } else { module.to_vec() };
    let mut mentions = Mentions { module, found: Vec::new() };
    mentions.walk(tokens);
    let findings = mentions.found.into_iter().filter_map(|mention| judge(top, may, mention));
    Ok(findings.collect())
}

fn judge(top: &str, may: &May, mention: Mention) -> Option<Finding> {
    let Mention { line, what } = mention;
    let message = match what {
        What::Crate(name, owner) if owner != top => {
            format!("{top} may not use {name}: only {owner} may")
        }
        What::Crate(..) => return None,
        What::Module(used) => match may {
            May::UseAll => return None,
            May::Use(_) if used == top => return None,
            May::Use(allowed) if allowed.contains(&used.as_str()) => return None,
            May::Use([]) => format!("{top} may not use crate::{used}: it may use no other module"),
            May::Use(allowed) => {
                format!("{top} may not use crate::{used}: it may use {}", allowed.join(", "))
            }
        },
    };
    Some(Finding { line, message })
}

/// Something that the text of a module refers to.
struct Mention {
    line: usize,
    what: What,
}

enum What {
    /// A module right below the root of the crate, or an item that the root itself defines.
    Module(String),
    /// A crate of [`CRATES`] and the module it belongs to.
    Crate(String, &'static str),
}

/// Collects what the tokens of a module refer to.
struct Mentions {
    /// The module being walked through, from the root of the crate.
    module: Vec<String>,
    found: Vec<Mention>,
}

impl Mentions {
    fn walk(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        for (index, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Ident(ident) if starts_path(&tokens[..index]) => {
                    self.path(ident, &tokens[..index], &tokens[index + 1..]);
                }
                TokenTree::Group(group) => match module_name(&tokens[..index]) {
                    Some(name) => {
                        self.module.push(name);
                        self.walk(group.stream());
                        self.module.pop();
                    }
                    None => self.walk(group.stream()),
                },
                _ => {}
            }
        }
    }

    /// Looks at a path by its first name and what stands before and after it.
    fn path(&mut self, first: &Ident, before: &[TokenTree], after: &[TokenTree]) {
        let Some(rest) = after_colons(after) else {
            if is_imported(before) {
                self.crate_named(first);
            }
            return;
        };
        match first.to_string().as_str() {
            "crate" => self.heads(rest),
            "super" => self.relative(rest),
            _ => self.crate_named(first),
        }
    }

    /// `super::…`, after the first `super::`.
    fn relative(&mut self, mut rest: &[TokenTree]) {
        let mut up = 1;
        while let Some(next) = rest.first()
            && is_ident(next, "super")
            && let Some(after) = after_colons(&rest[1..])
        {
            up += 1;
            rest = after;
        }
        if up >= self.module.len() {
            self.heads(rest);
        }
    }

    /// The names that follow `crate::`: one, or each of a group's.
    fn heads(&mut self, rest: &[TokenTree]) {
        match rest.first() {
            Some(TokenTree::Ident(name)) => self.module_named(name),
            Some(TokenTree::Punct(star)) if star.as_char() == '*' => {
                let line = star.span().start().line;
                self.found.push(Mention { line, what: What::Module("*".to_owned()) });
            }
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                let tokens: Vec<TokenTree> = group.stream().into_iter().collect();
                for item in tokens.split(|token| is_punct(token, ',')) {
                    self.heads(item);
                }
            }
            _ => {}
        }
    }

    fn module_named(&mut self, name: &Ident) {
        if name != "self" {
            let line = name.span().start().line;
            self.found.push(Mention { line, what: What::Module(name.to_string()) });
        }
    }

    fn crate_named(&mut self, name: &Ident) {
        let text = name.to_string();
        let family = |of: &str| {
            text.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
        };
        if let Some((_, owner)) = CRATES.iter().find(|(of, _)| family(of)) {
            let line = name.span().start().line;
            self.found.push(Mention { line, what: What::Crate(text, owner) });
        }
    }
}

/// Whether a name after these tokens is the first of its path: no `a::` before it.
fn starts_path(before: &[TokenTree]) -> bool {
    match before {
        [.., name, one, two] if is_punct(one, ':') && is_punct(two, ':') => match name {
            TokenTree::Ident(name) => ["use", "in", "as", "return"].iter().any(|word| name == word),
            TokenTree::Punct(punct) => punct.as_char() != '>',
            _ => true,
        },
        _ => true,
    }
}

/// Whether a lone name after these tokens is imported: `use aya;`, `extern crate aya;`.
fn is_imported(before: &[TokenTree]) -> bool {
    let before = match before {
        [rest @ .., one, two] if is_punct(one, ':') && is_punct(two, ':') => rest,
        _ => before,
    };
    before.last().is_some_and(|token| is_ident(token, "use") || is_ident(token, "crate"))
}

/// The name of the inline module whose body follows these tokens.
fn module_name(before: &[TokenTree]) -> Option<String> {
    match before {
        [.., keyword, TokenTree::Ident(name)] if is_ident(keyword, "mod") => Some(name.to_string()),
        _ => None,
    }
}

/// What follows `::`, when the tokens start with it.
fn after_colons(tokens: &[TokenTree]) -> Option<&[TokenTree]> {
    match tokens {
        [one, two, rest @ ..] if is_punct(one, ':') && is_punct(two, ':') => Some(rest),
        _ => None,
    }
}

fn is_punct(token: &TokenTree, character: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == character)
}

fn is_ident(token: &TokenTree, text: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines on which the text of a module breaks a rule.
    fn lines(module: &str, text: &str) -> Vec<usize> {
        let findings = check(&module_of(Path::new(module)), text).unwrap();
        findings.into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn allowed_imports_pass() {
        assert!(lines("view/table.rs", "use crate::{analyze::Verdict, model};").is_empty());
        assert!(lines("collect.rs", "use crate::model::Profile;").is_empty());
        assert!(lines("model.rs", "use crate::model::thread::Id;").is_empty());
        assert!(
            lines("cli/attach.rs", "use crate::{kernel, view::table}; use clap::Parser;")
                .is_empty()
        );
        assert!(lines("kernel/load.rs", "use aya::Ebpf; use profiler_common::Key;").is_empty());
    }

    #[test]
    fn a_forbidden_import_is_found() {
        assert_eq!(lines("analyze.rs", "\nuse crate::view::table;"), [2]);
        assert_eq!(lines("kernel/mod.rs", "use crate::model;"), [1]);
    }

    #[test]
    fn it_is_found_in_groups() {
        let text = "use crate::{\n    model::{Profile, view},\n    view::x,\n};";
        assert_eq!(lines("analyze/locks.rs", text), [3]);
        assert_eq!(lines("analyze/locks.rs", "use crate::{self as dwell, cli::{a, b}};"), [1]);
    }

    #[test]
    fn it_is_found_in_expressions_types_and_macros() {
        assert_eq!(lines("model.rs", "fn f() { crate::view::f() }"), [1]);
        assert_eq!(lines("model.rs", "fn f(x: &crate::cli::X) {}"), [1]);
        assert_eq!(lines("model.rs", "fn f() {\n println!(\"{}\", crate::view::f());\n}"), [2]);
    }

    #[test]
    fn it_is_found_through_super() {
        assert_eq!(lines("model.rs", "use super::view::x;"), [1]);
        assert_eq!(lines("model/thread.rs", "use super::super::view::x;"), [1]);
        assert!(lines("model/thread.rs", "use super::view::x;").is_empty());
        assert!(lines("model.rs", "mod tests { use super::view::x; }").is_empty());
        assert_eq!(lines("model.rs", "mod tests { use super::super::view::x; }"), [1]);
    }

    #[test]
    fn a_crate_stays_in_its_module() {
        assert_eq!(lines("collect.rs", "use aya::maps::RingBuf;"), [1]);
        assert_eq!(lines("collect.rs", "use {std::fs, ::aya::maps::RingBuf};"), [1]);
        assert_eq!(lines("collect.rs", "use aya;\nextern crate aya_obj;"), [1, 2]);
        assert_eq!(lines("session.rs", "fn f() -> aya::Ebpf { todo!() }"), [1]);
        assert_eq!(lines("view.rs", "#[derive(clap::ValueEnum)]\nenum Format {}"), [1]);
        assert_eq!(lines("main.rs", "use clap_complete::Shell;"), [1]);
    }

    #[test]
    fn names_that_only_look_alike_pass() {
        assert!(lines("collect.rs", "use crate::model::aya::X; use ayatollah::y;").is_empty());
        assert!(
            lines("collect.rs", "// use crate::view\nconst A: &str = \"crate::view::x\";")
                .is_empty()
        );
        assert!(
            lines("collect.rs", "pub(crate) struct A; pub(in crate::collect) struct B;").is_empty()
        );
    }

    #[test]
    fn a_module_without_a_rule_is_found() {
        assert_eq!(check(&["misc".to_owned()], "").unwrap()[0].message, "module misc has no rule");
    }

    #[test]
    fn everything_of_the_root_at_once_is_too_much() {
        assert_eq!(lines("model.rs", "use crate::*;"), [1]);
        assert!(lines("cli.rs", "use crate::*;").is_empty());
    }

    #[test]
    fn the_finding_says_what_is_allowed() {
        let finding = &check(&["view".to_owned()], "use crate::kernel;").unwrap()[0];
        assert_eq!(
            finding.to_string(),
            "1: view may not use crate::kernel: it may use model, analyze"
        );
    }
}
