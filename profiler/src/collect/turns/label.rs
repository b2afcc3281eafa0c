//! Puts what a request asks for into words.

use profiler_common::turn::{
    LABEL_LENGTH, Label, PROTOCOL_HTTP, PROTOCOL_HTTP2, PROTOCOL_MEMCACHED, PROTOCOL_MYSQL,
    PROTOCOL_POSTGRES, PROTOCOL_POSTGRES_PREPARED, PROTOCOL_POSTGRES_STARTUP, PROTOCOL_REDIS,
    PROTOCOL_TLS,
};

use crate::model::{Protocol, RequestLabel};

/// Commands of memcached (doc/protocol.txt there): a word that begins a request and is none of them is
/// not one of that protocol.
const MEMCACHED: [&str; 24] = [
    "get",
    "gets",
    "gat",
    "gats",
    "set",
    "add",
    "replace",
    "append",
    "prepend",
    "cas",
    "delete",
    "incr",
    "decr",
    "touch",
    "stats",
    "version",
    "flush_all",
    "verbosity",
    "quit",
    "mg",
    "ms",
    "md",
    "ma",
    "mn",
];

/// The label in words; `clean` makes text of the target safe to print.
pub fn label(label: &Label, clean: impl FnOnce(&[u8]) -> String) -> RequestLabel {
    let length = (label.length as usize).min(LABEL_LENGTH);
    let bytes: Vec<u8> = label.words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let text = clean(&bytes[..length]);
    let of = |protocol, text| RequestLabel { protocol, text };
    match label.protocol {
        PROTOCOL_HTTP => of(Protocol::Http, text),
        PROTOCOL_HTTP2 => of(Protocol::Http2, String::new()),
        PROTOCOL_REDIS => of(Protocol::Redis, text.to_ascii_uppercase()),
        PROTOCOL_POSTGRES => of(Protocol::Postgresql, statement(&text, length == LABEL_LENGTH)),
        PROTOCOL_POSTGRES_PREPARED if text.is_empty() => {
            of(Protocol::Postgresql, "EXECUTE".to_owned())
        }
        PROTOCOL_POSTGRES_PREPARED => of(Protocol::Postgresql, format!("EXECUTE {text}")),
        PROTOCOL_POSTGRES_STARTUP => of(Protocol::Postgresql, "(session)".to_owned()),
        PROTOCOL_MYSQL => of(Protocol::Mysql, statement(&text, length == LABEL_LENGTH)),
        PROTOCOL_MEMCACHED if MEMCACHED.contains(&text.as_str()) => of(Protocol::Memcached, text),
        PROTOCOL_TLS => of(Protocol::Tls, String::new()),
        _ => of(Protocol::Unknown, String::new()),
    }
}

/// Words after which a table is named.
const BEFORE_TABLE: [&str; 5] = ["FROM", "INTO", "UPDATE", "TABLE", "JOIN"];

/// The kind of a statement and its first table. `is_cut`: the text may go on, so its last word may be
/// half a word.
fn statement(text: &str, is_cut: bool) -> String {
    let text = without_comments(text);
    let mut words: Vec<&str> = text
        .split(|letter: char| {
            letter.is_whitespace() || matches!(letter, '(' | ')' | ',' | ';' | '=')
        })
        .filter(|word| !word.is_empty())
        .collect();
    if is_cut {
        words.pop();
    }
    let Some(kind) = words.first().map(|word| word.to_ascii_uppercase()) else {
        return String::new();
    };
    let is_before = |word: &&str| BEFORE_TABLE.iter().any(|known| word.eq_ignore_ascii_case(known));
    let table = words.iter().position(is_before).and_then(|at| {
        let skip = ["ONLY", "IF", "NOT", "EXISTS"];
        let rest = words.get(at + 1..)?;
        rest.iter().find(|word| !skip.iter().any(|known| word.eq_ignore_ascii_case(known)))
    });
    match table {
        Some(table) => format!("{kind} {}", table.trim_matches(['"', '`'])),
        None => kind,
    }
}

fn without_comments(text: &str) -> String {
    let mut rest = text;
    let mut out = String::new();
    while let Some(begin) = rest.find("/*") {
        out.push_str(&rest[..begin]);
        out.push(' ');
        let Some(end) = rest[begin + 2..].find("*/") else { return out };
        rest = &rest[begin + 2 + end + 2..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::statement;

    #[test]
    fn a_statement_is_its_kind_and_its_first_table() {
        let cases = [
            ("SELECT abalance FROM pgbench_accounts WHERE aid = ", "SELECT pgbench_accounts"),
            ("UPDATE pgbench_branches SET bbalance = bbalance + ", "UPDATE pgbench_branches"),
            ("insert into pgbench_history (tid, bid) VALUES (", "INSERT pgbench_history"),
            ("DELETE FROM ONLY \"Orders\" WHERE", "DELETE Orders"),
            ("BEGIN;", "BEGIN"),
            ("END;", "END"),
            ("/* trace */ select ", "SELECT"),
            ("/* never ends", ""),
            ("", ""),
            ("SELECT a FROM(VALUES (", "SELECT VALUES"),
        ];
        for (text, label) in cases {
            assert_eq!(statement(text, false), label, "{text}");
        }
        assert_eq!(statement("SELECT a, b FROM custo", true), "SELECT");
    }
}
