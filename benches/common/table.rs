//! For benchmarks that count instead of taking times: what the command line asks for, and a table to print.

use super::is_trial;

/// The rows that the command line asks for: names that contain the word given, or all. Flags are criterion's and mean nothing
/// here.
pub fn is_wanted(name: &str) -> bool {
    let mut words = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).peekable();
    words.peek().is_none() || words.any(|word| name.contains(&word))
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
