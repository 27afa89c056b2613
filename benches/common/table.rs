//! For benchmarks that count instead of taking times: what the command line asks for, and a table to print.

use super::is_trial;

/// The rows that the command line asks for: names that contain the word given, or all. Flags, and what belongs to them, are
/// criterion's and mean nothing here.
pub fn is_wanted(name: &str) -> bool {
    const TAKE_A_VALUE: [&str; 11] = [
        "--save-baseline",
        "--baseline",
        "--baseline-lenient",
        "--load-baseline",
        "--sample-size",
        "--warm-up-time",
        "--measurement-time",
        "--nresamples",
        "--noise-threshold",
        "--confidence-level",
        "--significance-level",
    ];
    let args: Vec<String> = std::env::args().collect();
    let is_word = |pair: &&[String]| !pair[1].starts_with('-') && !TAKE_A_VALUE.contains(&&*pair[0]);
    let mut words = args.windows(2).filter(is_word).map(|pair| &*pair[1]).peekable();
    words.peek().is_none() || words.any(|word| name.contains(word))
}

/// Prints a table in Markdown, unless there is nothing to tell.
pub fn print(title: &str, head: &[&str], rows: &[Vec<String>]) {
    if rows.is_empty() {
        return;
    }
    println!("{title}{}\n", if is_trial() { " (a trial: the figures mean nothing)" } else { "" });
    println!("| {} |", head.join(" | "));
    println!("|{}", "---|".repeat(head.len()));
    rows.iter().for_each(|row| println!("| {} |", row.join(" | ")));
    println!();
}
