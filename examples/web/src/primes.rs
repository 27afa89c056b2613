//! The work.

use formicary::Context;

/// How many primes are below a number. Nothing, if the task is told to stop.
pub(crate) fn count(below: u64) -> Option<u64> {
    let mut count = 0;
    for n in 2..below {
        if n % 1024 == 0 && Context::with(|task| task.is_cancelled()) == Some(true) {
            return None;
        }
        count += u64::from((2..).take_while(|divisor| divisor * divisor <= n).all(|divisor| n % divisor != 0));
    }
    Some(count)
}
