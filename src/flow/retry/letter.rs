//! A dead letter: a task that was given up, and why.

use std::fmt;
use std::time::Instant;

use super::error::{GaveUp, RetryError};
use crate::sync::user_code::catch_user_panic;
use crate::sync::{Arc, clock};

/// A task that was given up, and what is known of it.
///
/// ```
/// use formicary::{DeadLetters, GaveUp, PoolWithFunc, Retry};
///
/// let pool = PoolWithFunc::new(1, |n: u8| Err::<(), _>(format!("no {n}")))?;
/// let letters = DeadLetters::queue(10);
/// pool.retrying(Retry::none()).name("count").dead_letters(&letters).run(7)?.unwrap_err();
///
/// let letter = letters.take().unwrap();
/// assert_eq!((letter.reason(), letter.attempts()), (GaveUp::Exhausted, 1));
/// assert_eq!((letter.error(), letter.name()), ("no 7", Some("count")));
/// assert!(letter.given_up_at() <= std::time::Instant::now());
/// assert_eq!(letter.into_task(), 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct DeadLetter<X> {
    pub(super) task: X,
    pub(super) about: About,
}

pub(super) struct About {
    reason: GaveUp,
    attempts: u32,
    text: Box<str>,
    name: Option<Arc<str>>,
    at: Instant,
}

/// What is known of it: the example is that of [`DeadLetter`].
impl<X> DeadLetter<X> {
    pub(super) fn new<E: fmt::Display>(task: X, error: &RetryError<E>, name: Option<&Arc<str>>) -> Self {
        let text = catch_user_panic(|| error.text()).unwrap_or_else(|| "an error whose text cannot be made".into());
        let (reason, attempts, at) = (error.reason, error.attempts, clock::now());
        DeadLetter { task, about: About { reason, attempts, text: text.into(), name: name.cloned(), at } }
    }

    /// The task, a closure or an input.
    pub fn into_task(self) -> X {
        self.task
    }

    /// The task, and the letter without it: what is known stays.
    ///
    /// ```
    /// use formicary::{DeadLetters, PoolWithFunc, Retry};
    ///
    /// let pool = PoolWithFunc::new(1, |n: u8| Err::<(), _>(format!("no {n}")))?;
    /// let letters = DeadLetters::queue(10);
    /// pool.retrying(Retry::none()).dead_letters(&letters).run(7)?.unwrap_err();
    /// let (n, letter) = letters.take().unwrap().into_parts();
    /// assert_eq!((n, letter.error(), letter.attempts()), (7, "no 7", 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_parts(self) -> (X, DeadLetter<()>) {
        (self.task, DeadLetter { task: (), about: self.about })
    }

    /// Why it was given up.
    pub fn reason(&self) -> GaveUp {
        self.about.reason
    }

    /// How many attempts have failed.
    pub fn attempts(&self) -> u32 {
        self.about.attempts
    }

    /// The text of the last failure.
    pub fn error(&self) -> &str {
        &self.about.text
    }

    /// The name of the task ([`Retrying::name`](crate::Retrying::name)).
    pub fn name(&self) -> Option<&str> {
        self.about.name.as_deref()
    }

    /// When it was given up.
    pub fn given_up_at(&self) -> Instant {
        self.about.at
    }
}

impl<X> fmt::Debug for DeadLetter<X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let About { reason, attempts, text, name, .. } = &self.about;
        f.debug_struct("DeadLetter")
            .field("name", name)
            .field("reason", reason)
            .field("attempts", attempts)
            .field("error", text)
            .finish_non_exhaustive()
    }
}
