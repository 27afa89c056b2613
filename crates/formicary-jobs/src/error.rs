//! Errors of stores.

use std::error::Error;
use std::fmt;

/// The error of a handler, of a decoder, or of whatever else is a job's own.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// What kind of failure a [`StoreError`] is.
///
/// ```
/// use formicary_jobs::{Push, StoreErrorKind};
///
/// let nameless = Push::raw("", 1, "{}");
/// assert_eq!(nameless.unwrap_err().kind(), StoreErrorKind::Invalid);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The store did not answer, or not in time. What was asked for may have been done: repeat a push with the same key.
    Unavailable,
    /// There is no space left. Nothing was stored.
    Full,
    /// The request is wrong, and will be wrong again. Nothing was stored.
    Invalid,
}

/// A store could not do what it was asked for.
///
/// ```
/// use formicary_jobs::Push;
///
/// let error = Push::raw("no spaces", 1, "{}").unwrap_err();
/// assert_eq!(error.to_string(), "\"no spaces\" is no name of a kind of job: 1 to 64 of a-z A-Z 0-9 _ -");
/// ```
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    text: String,
    source: Option<BoxError>,
}

impl StoreError {
    /// An error of a store of your own.
    ///
    /// ```
    /// use formicary_jobs::{StoreError, StoreErrorKind};
    ///
    /// let error = StoreError::new(StoreErrorKind::Unavailable, "the tape is rewinding");
    /// assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    /// ```
    pub fn new(kind: StoreErrorKind, text: impl Into<String>) -> Self {
        StoreError { kind, text: text.into(), source: None }
    }

    pub(crate) fn of(kind: StoreErrorKind, text: &str, source: impl Into<BoxError>) -> Self {
        StoreError { kind, text: text.to_owned(), source: Some(source.into()) }
    }

    /// What kind of failure it is.
    ///
    /// ```
    /// use formicary_jobs::{Push, StoreErrorKind};
    ///
    /// assert_eq!(Push::raw("a/b", 1, "").unwrap_err().kind(), StoreErrorKind::Invalid);
    /// ```
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// An error and its causes, in one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let (mut text, mut next) = (error.to_string(), error.source());
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
