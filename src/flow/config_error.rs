//! The error of values that cannot be meant.

use std::error::Error;
use std::fmt;

/// An argument of [`autoscale`](crate::autoscale) or [`sizing`](crate::sizing) is out of its range, or contradicts another one. The text
/// names the arguments and their values.
///
/// ```
/// use formicary::{Pool, autoscale::Autoscaler};
///
/// let pool = Pool::new(1)?;
/// let error = Autoscaler::between(8, 2).start(&pool).unwrap_err();
/// assert_eq!(error.argument(), "min");
/// assert_eq!(error.to_string(), "min is 8, which is above max, 2");
/// # Ok::<(), formicary::BuildError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    argument: &'static str,
    text: String,
}

impl ConfigError {
    /// One value is wrong; `why` says what it should be.
    pub(crate) fn wrong(argument: &'static str, value: impl fmt::Debug, why: impl fmt::Display) -> Self {
        ConfigError { argument, text: format!("{argument} is {value:?}: {why}") }
    }

    /// Two values that have an order do not have it.
    pub(crate) fn crossed<V: fmt::Debug>(lower: (&'static str, V), upper: (&'static str, V)) -> Self {
        let text = format!("{} is {:?}, which is above {}, {:?}", lower.0, lower.1, upper.0, upper.1);
        ConfigError { argument: lower.0, text }
    }

    /// The name of the argument; of two that contradict each other, that of the one that should be lower.
    ///
    /// ```
    /// use formicary::sizing::Sizing;
    ///
    /// let error = Sizing::new().arrivals_per_second(f64::NAN).recommend().unwrap_err();
    /// assert_eq!(error.argument(), "arrivals_per_second");
    /// ```
    #[must_use]
    pub fn argument(&self) -> &'static str {
        self.argument
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for ConfigError {}

/// Fails unless the value is a finite number above 0.
pub(crate) fn check_positive(argument: &'static str, value: f64) -> Result<(), ConfigError> {
    match value.is_finite() && value > 0.0 {
        true => Ok(()),
        false => Err(ConfigError::wrong(argument, value, "it must be a finite number above 0")),
    }
}

/// Fails unless the value is above 0 and at most 1.
pub(crate) fn check_share(argument: &'static str, value: f64) -> Result<(), ConfigError> {
    match value > 0.0 && value <= 1.0 {
        true => Ok(()),
        false => Err(ConfigError::wrong(argument, value, "it must be above 0 and at most 1")),
    }
}

/// Fails if the number is 0.
pub(crate) fn check_not_zero<N: PartialEq + Default + fmt::Debug>(
    argument: &'static str,
    value: N,
) -> Result<(), ConfigError> {
    match value != N::default() {
        true => Ok(()),
        false => Err(ConfigError::wrong(argument, value, "it must be above 0")),
    }
}
