//! Durations as people write them.

use std::time::Duration;

/// Longest window: beyond, counters of waits may wrap and nobody is watching.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
/// Shortest window: below, the edges are all there is.
const SHORTEST: Duration = Duration::from_millis(10);

/// Parses `500ms`, `10s`, `1.5m`, `2h`.
///
/// # Errors
/// One line that says what would be accepted.
pub fn parse(text: &str) -> Result<Duration, String> {
    let duration = parse_offset(text)?;
    if !(SHORTEST..=LONGEST).contains(&duration) {
        return Err("a window lasts from 10ms to 168h".to_owned());
    }
    Ok(duration)
}

/// Parses a time since the beginning: also `0s`.
///
/// # Errors
/// One line that says what would be accepted.
pub fn parse_offset(text: &str) -> Result<Duration, String> {
    let usage = || "give a number and a unit: 500ms, 10s, 2m or 1h".to_owned();
    let split = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(usage)?;
    let (number, unit) = text.split_at(split);
    let scale = match unit {
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(usage()),
    };
    let number: f64 = number.trim().parse().map_err(|_| usage())?;
    let seconds = number * scale;
    Duration::try_from_secs_f64(seconds).map_err(|_| usage())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write() {
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(parse("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(parse("2h"), Ok(Duration::from_secs(7200)));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in
            ["", "10", "0s", "-5s", "1ms", "999999h", "s", "nans", "infs", "1e300s", "1d", "5 sec"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
