//! Numbers with their units; the blank between them is [`TIE`], where no line is broken.

use super::layout::TIE;
use crate::analyze::Change;
use crate::model::Nanos;

/// Three significant digits and a unit: `331 ns`, `4.51 s`.
pub fn duration(time: Nanos) -> String {
    scaled(time.0 as f64, 1000.0, &["ns", "µs", "ms", "s"], time.0 < 1000)
}

/// A difference of durations, with its sign: `+4.51 s`, `−331 ns`.
pub fn change(change: Change) -> String {
    let sign = match change.0 {
        0 => "",
        1.. => "+",
        _ => "−",
    };
    format!("{sign}{}", duration(Nanos(change.0.unsigned_abs())))
}

/// How many a second: two digits below 100.
pub fn rate(number: f64) -> String {
    match number {
        99.5.. => count(number.round() as u64),
        9.95.. => format!("{number:.0}"),
        _ => format!("{number:.1}"),
    }
}

/// A mean number of things, to one decimal; what is there is never shown as 0.
pub fn mean(number: f64) -> String {
    if number > 0.0 && number < 0.05 { "<0.1".to_owned() } else { format!("{number:.1}") }
}

/// `3.15 MB`; decimal units.
pub fn bytes(amount: u64) -> String {
    scaled(amount as f64, 1000.0, &["B", "kB", "MB", "GB"], amount < 1000)
}

fn scaled(value: f64, step: f64, units: &[&str], whole: bool) -> String {
    let mut value = value;
    let mut unit = 0;
    // What rounds to 1,000 of a unit is 1.00 of the next.
    while value >= step - 0.5 && unit + 1 < units.len() && !(whole && unit == 0) {
        value /= step;
        unit += 1;
    }
    let number = if whole || value >= 99.95 {
        count(value.round() as u64)
    } else if value >= 9.995 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    };
    format!("{number}{TIE}{}", units[unit])
}

/// With separators of thousands.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 thread`, `8 threads`.
pub fn counted(number: u64, one: &str) -> String {
    let plural = match one.as_bytes() {
        [.., b's' | b'x'] | [.., b'c', b'h'] => format!("{one}es"),
        [.., b'y'] => format!("{}ies", one.trim_end_matches('y')),
        _ => format!("{one}s"),
    };
    format!("{}{TIE}{}", count(number), if number == 1 { one } else { &plural })
}

/// A share in whole percent. What is there is never shown as 0, what is missing never as 100.
pub fn percent(share: f64) -> String {
    let (sign, number) = rounded(share);
    format!("{sign}{number}{TIE}%")
}

/// The same for a column: no blank.
pub fn tight_percent(share: f64) -> String {
    let (sign, number) = rounded(share);
    format!("{sign}{number}%")
}

fn rounded(share: f64) -> (&'static str, u64) {
    let number = (share * 100.0).round() as u64;
    match number {
        0 if share > 0.0 => ("<", 1),
        100 if share < 1.0 => (">", 99),
        _ => ("", number),
    }
}

/// A share near to 1: two decimals, rounded down.
pub fn fine_percent(share: f64) -> String {
    format!("{:.2}{TIE}%", (share * 10_000.0).floor() / 100.0)
}

/// CPU time as a share of one core: one decimal.
pub fn cores(share: f64) -> String {
    if share > 0.0 && share < 0.0005 {
        return format!("<0.1{TIE}%");
    }
    format!("{:.1}{TIE}%", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        text.replace(TIE, " ")
    }

    #[test]
    fn durations_have_three_digits() {
        for (time, text) in [
            (0, "0 ns"),
            (331, "331 ns"),
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (12_345, "12.3 µs"),
            (999_400, "999 µs"),
            (999_900, "1.00 ms"),
            (99_960_000, "100 ms"),
            (4_510_000_000, "4.51 s"),
            (9_996_000_000, "10.0 s"),
            (1_234_000_000_000, "1,234 s"),
        ] {
            assert_eq!(shown(&duration(Nanos(time))), text);
        }
    }

    #[test]
    fn differences_have_a_sign_and_means_are_never_rounded_away() {
        assert_eq!(shown(&change(Change(1_500))), "+1.50 µs");
        assert_eq!(shown(&change(Change(-331))), "−331 ns");
        assert_eq!(shown(&change(Change(0))), "0 ns");
        assert_eq!([rate(0.25), rate(12.3), rate(1_234.4)], ["0.2", "12", "1,234"]);
        assert_eq!([mean(0.0), mean(0.01), mean(2.34)], ["0.0", "<0.1", "2.3"]);
    }

    #[test]
    fn sizes_and_counts() {
        assert_eq!(shown(&bytes(3_145_728)), "3.15 MB");
        assert_eq!(shown(&bytes(0)), "0 B");
        assert_eq!(count(0), "0");
        assert_eq!(count(123), "123");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(shown(&counted(1, "process")), "1 process");
        assert_eq!(shown(&counted(2, "process")), "2 processes");
        assert_eq!(shown(&counted(0, "table entry")), "0 table entries");
        assert_eq!(shown(&counted(3, "context switch")), "3 context switches");
    }

    #[test]
    fn shares_are_never_rounded_away() {
        assert_eq!(shown(&percent(0.0)), "0 %");
        assert_eq!(shown(&percent(0.000_1)), "<1 %");
        assert_eq!(shown(&percent(0.999_9)), ">99 %");
        assert_eq!(shown(&percent(1.0)), "100 %");
        assert_eq!(shown(&fine_percent(0.999_999)), "99.99 %");
        assert_eq!(shown(&fine_percent(1.0)), "100.00 %");
        assert_eq!(shown(&cores(0.000_1)), "<0.1 %");
        assert_eq!(shown(&cores(0.012)), "1.2 %");
    }
}
