//! Numbers as text for the terminal.

/// A time with two or three digits and a unit: `850 µs`, `1.2 ms`, `12 s`, `3 min`.
pub(crate) fn time(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..9_950 => format!("{:.1} ms", us as f64 / 1e3),
        9_950..999_500 => format!("{:.0} ms", us as f64 / 1e3),
        999_500..9_950_000 => format!("{:.1} s", us as f64 / 1e6),
        9_950_000..120_000_000 => format!("{:.0} s", us as f64 / 1e6),
        _ => format!("{} min", us / 60_000_000),
    }
}

/// A rate with at most one digit after the point: `0`, `4.5`, `320`.
pub(crate) fn rate(per_second: f64) -> String {
    if per_second > 0.0 && per_second < 9.95 { format!("{per_second:.1}") } else { format!("{per_second:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_that_fits() {
        let cases = [
            (0, "0 µs"),
            (999, "999 µs"),
            (1_000, "1.0 ms"),
            (9_949, "9.9 ms"),
            (9_950, "10 ms"),
            (999_499, "999 ms"),
            (999_500, "1.0 s"),
            (9_949_999, "9.9 s"),
            (9_950_000, "10 s"),
            (119_999_999, "120 s"),
            (120_000_000, "2 min"),
        ];
        for (us, text) in cases {
            assert_eq!(time(us), text, "{us}");
        }
    }

    #[test]
    fn rates_are_short() {
        for (per_second, text) in [(0.0, "0"), (4.46, "4.5"), (9.94, "9.9"), (9.96, "10"), (319.6, "320")] {
            assert_eq!(rate(per_second), text, "{per_second}");
        }
    }
}
