//! Where this machine gets its Debian packages from.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

/// An archive: where it is, and what its signatures are checked with.
#[derive(Clone, Debug, PartialEq)]
pub struct Archive {
    uri: String,
    suites: Vec<String>,
    signed_by: Option<String>,
}

/// The archives of the machine's own release: the main one, and that of its security updates.
pub struct Archives {
    main: Archive,
    security: Option<Archive>,
}

impl Archives {
    /// Those that this machine is set up with.
    pub fn of_machine() -> Result<Self> {
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let field = |name: &str| {
            let line = release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.map(|value| value.trim_matches('"').to_owned())
        };
        if field("ID").as_deref() != Some("debian") {
            bail!("the kernels are Debian's: run this on a Debian machine");
        }
        let codename = field("VERSION_CODENAME").context("/etc/os-release has no codename")?;
        Self::among(&all(Path::new("/etc/apt"))?, &codename)
    }

    fn among(archives: &[Archive], codename: &str) -> Result<Self> {
        let with = |suite: &str| {
            archives.iter().find(|archive| archive.suites.iter().any(|name| name == suite)).cloned()
        };
        let main = with(codename).with_context(|| {
            format!("no source in /etc/apt offers {codename}: add Debian's to it")
        })?;
        Ok(Self { main, security: with(&format!("{codename}-security")) })
    }

    /// Sources (deb822) for these releases in place of the machine's own.
    pub fn with_suites(&self, suites: &[&str], releases: &[&str]) -> String {
        let security: Vec<String> =
            releases.iter().map(|release| format!("{release}-security")).collect();
        let security: Vec<&str> = security.iter().map(String::as_str).collect();
        let mut text = self.main.stanza(suites);
        if let Some(archive) = &self.security {
            text += "\n";
            text += &archive.stanza(&security);
        }
        text
    }
}

impl Archive {
    fn stanza(&self, suites: &[&str]) -> String {
        let mut text = format!(
            "Types: deb\nURIs: {}\nSuites: {}\nComponents: main\nArchitectures: amd64\n",
            self.uri,
            suites.join(" ")
        );
        if let Some(key) = &self.signed_by {
            text += &format!("Signed-By: {key}\n");
        }
        text
    }
}

/// Everything in sources.list and sources.list.d.
fn all(folder: &Path) -> Result<Vec<Archive>> {
    let mut files = vec![folder.join("sources.list")];
    let parts = folder.join("sources.list.d");
    files.extend(parts.read_dir().into_iter().flatten().flatten().map(|entry| entry.path()));
    let mut archives = Vec::new();
    for file in files.iter().filter(|file| file.is_file()) {
        let text =
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("sources") => archives.extend(text.split("\n\n").filter_map(parse_stanza)),
            Some("list") => archives.extend(text.lines().filter_map(parse_line)),
            _ => {}
        }
    }
    Ok(archives)
}

/// A paragraph of a .sources file (sources.list(5), "DEB822-STYLE FORMAT").
fn parse_stanza(text: &str) -> Option<Archive> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let field = |wanted: &str| {
        let start = lines.iter().position(|line| {
            line.split_once(':').is_some_and(|(name, _)| name.eq_ignore_ascii_case(wanted))
        })?;
        let mut value = lines[start].split_once(':')?.1.trim().to_owned();
        // A key can be given in place, over several lines.
        for line in lines[start + 1..].iter().take_while(|line| line.starts_with([' ', '\t'])) {
            value += &format!("\n{line}");
        }
        Some(value)
    };
    if !field("Types")?.split_whitespace().any(|kind| kind == "deb") {
        return None;
    }
    Some(Archive {
        uri: field("URIs")?.split_whitespace().next()?.to_owned(),
        suites: field("Suites")?.split_whitespace().map(str::to_owned).collect(),
        signed_by: field("Signed-By"),
    })
}

/// `deb [option=value …] URI SUITE COMPONENT…`.
fn parse_line(line: &str) -> Option<Archive> {
    let rest = line.trim().strip_prefix("deb")?;
    let rest = rest.strip_prefix([' ', '\t'])?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(bracket) => bracket.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace();
    let signed_by = options.split_whitespace().find_map(|word| word.strip_prefix("signed-by="));
    Some(Archive {
        uri: words.next()?.to_owned(),
        suites: vec![words.next()?.to_owned()],
        signed_by: signed_by.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANZA: &str = "# a comment\nTypes: deb deb-src\nURIs: http://mirror.test/debian\n\
                          Suites: one one-updates\nComponents: main\nSigned-By: /keys/a.gpg\n";

    #[test]
    fn both_formats_are_read() {
        let stanza = parse_stanza(STANZA).expect("a stanza");
        assert_eq!(stanza.suites, ["one", "one-updates"]);
        assert_eq!(stanza.signed_by.as_deref(), Some("/keys/a.gpg"));
        let line =
            parse_line("deb [arch=amd64 signed-by=/keys/b.gpg] http://s.test/x one-security main");
        let line = line.expect("a line");
        assert_eq!(
            (line.uri.as_str(), line.suites.as_slice()),
            ("http://s.test/x", &["one-security".to_owned()][..])
        );
        assert_eq!(line.signed_by.as_deref(), Some("/keys/b.gpg"));
        assert_eq!(parse_line("# deb http://s.test/x one main"), None);
        assert_eq!(parse_line("deb-src http://s.test/x one main"), None);
        assert_eq!(parse_stanza("Types: deb-src\nURIs: http://s.test\nSuites: one\n"), None);
    }

    #[test]
    fn other_suites_take_the_place_of_the_machines_own() {
        let security = parse_line("deb http://s.test/x one-security main").expect("a line");
        let archives = [parse_stanza(STANZA).expect("a stanza"), security];
        let found = Archives::among(&archives, "one").expect("both");
        assert_eq!(
            found.with_suites(&["two", "next"], &["two"]),
            "Types: deb\nURIs: http://mirror.test/debian\nSuites: two next\nComponents: main\n\
             Architectures: amd64\nSigned-By: /keys/a.gpg\n\n\
             Types: deb\nURIs: http://s.test/x\nSuites: two-security\nComponents: main\n\
             Architectures: amd64\n"
        );
        assert!(Archives::among(&archives, "three").is_err());
    }
}
