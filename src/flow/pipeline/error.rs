//! Why a pipeline has ended before its source.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use crate::error::{BoxError, Chain, JoinError};

/// Why a pipeline has ended before its source: the first failure.
///
/// ```
/// use formicary::{Pipeline, Pool};
///
/// let pool = Pool::new(2)?;
/// let parsed = Pipeline::from(["1", "2", "x"]).try_stage(&pool, str::parse::<u32>).name("parse").collect::<Vec<_>>();
/// let error: formicary::PipelineError = parsed.unwrap_err();
/// assert_eq!(error.stage(), Some(0));
/// assert_eq!(error.to_string(), "stage 0 (parse) failed");
/// assert!(error.into_failure().unwrap().is::<std::num::ParseIntError>());
/// # Ok::<(), formicary::BuildError>(())
/// ```
pub struct PipelineError {
    stage: Option<(usize, Option<Arc<str>>)>,
    failure: Failure,
}

pub(super) enum Failure {
    /// A stage returned an error.
    Stage(BoxError),
    /// A task panicked, or never ran.
    Task(JoinError),
    /// The source panicked.
    Source(JoinError),
    /// The token was cancelled.
    Cancelled,
    NoThread(io::Error),
}

impl PipelineError {
    pub(super) fn of_stage(stage: usize, name: Option<Arc<str>>, failure: Failure) -> Self {
        PipelineError { stage: Some((stage, name)), failure }
    }

    pub(super) fn new(failure: Failure) -> Self {
        PipelineError { stage: None, failure }
    }

    /// The stage that failed, counted from 0. `None` if the source panicked, the pipeline was cancelled, or its thread could not be started.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let never = std::iter::from_fn(|| -> Option<u32> { std::panic::panic_any("no") });
    /// let error = formicary::Pipeline::from(never).stage(&pool, |n| n).collect::<Vec<_>>().unwrap_err();
    /// assert!(error.is_panic() && error.stage().is_none());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn stage(&self) -> Option<usize> {
        self.stage.as_ref().map(|(stage, _)| *stage)
    }

    /// The name of that stage, if it has one.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let pipeline = formicary::Pipeline::from(["x"]).try_stage(&pool, str::parse::<u32>).name("parse");
    /// assert_eq!(pipeline.for_each(|_| ()).unwrap_err().stage_name(), Some("parse"));
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn stage_name(&self) -> Option<&str> {
        self.stage.as_ref()?.1.as_deref()
    }

    /// Whether a stage or the source panicked.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let pipeline = formicary::Pipeline::from([1]).stage(&pool, |_| std::panic::panic_any("no"));
    /// assert!(pipeline.for_each(|()| ()).unwrap_err().is_panic());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn is_panic(&self) -> bool {
        matches!(&self.failure, Failure::Task(error) | Failure::Source(error) if error.is_panic())
    }

    /// Whether the pipeline's token was cancelled, or a task never ran: its pool was closed or gave it back.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let token = formicary::CancelToken::new();
    /// token.cancel();
    /// let pipeline = formicary::Pipeline::from(1..).stage(&pool, |n: u32| n).token(&token);
    /// assert!(pipeline.for_each(|_| ()).unwrap_err().is_cancelled());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn is_cancelled(&self) -> bool {
        match &self.failure {
            Failure::Cancelled => true,
            Failure::Task(error) => error.is_cancelled(),
            _ => false,
        }
    }

    /// The error that a stage returned.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let pipeline = formicary::Pipeline::from([1]).try_stage(&pool, |_| Err::<(), _>("out of tea"));
    /// let failure = pipeline.for_each(|()| ()).unwrap_err().into_failure().unwrap();
    /// assert_eq!(failure.to_string(), "out of tea");
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// The error unchanged, if it has another reason.
    pub fn into_failure(self) -> Result<BoxError, Self> {
        match self.failure {
            Failure::Stage(error) => Ok(error),
            failure => Err(PipelineError { failure, ..self }),
        }
    }

    /// The payload of a panic.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let pipeline = formicary::Pipeline::from([1]).stage(&pool, |_| std::panic::panic_any(7_u8));
    /// let payload = pipeline.for_each(|()| ()).unwrap_err().into_panic().unwrap();
    /// assert_eq!(payload.downcast_ref(), Some(&7_u8));
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// The error unchanged, if it has another reason.
    pub fn into_panic(self) -> Result<Box<dyn Any + Send + 'static>, Self> {
        let PipelineError { stage, failure } = self;
        match failure {
            Failure::Task(error) => {
                error.into_panic().map_err(|error| PipelineError { stage, failure: Failure::Task(error) })
            }
            Failure::Source(error) => {
                error.into_panic().map_err(|error| PipelineError { stage, failure: Failure::Source(error) })
            }
            failure => Err(PipelineError { stage, failure }),
        }
    }
}

impl fmt::Display for PipelineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.stage, &self.failure) {
            (Some((stage, Some(name))), _) => write!(f, "stage {stage} ({name}) failed"),
            (Some((stage, None)), _) => write!(f, "stage {stage} failed"),
            (None, Failure::Source(_)) => f.write_str("the source of the pipeline panicked"),
            (None, Failure::NoThread(_)) => f.write_str("the pipeline has no thread for its source"),
            (None, _) => f.write_str("the pipeline was cancelled"),
        }
    }
}

impl fmt::Debug for PipelineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PipelineError({})", Chain(self))
    }
}

impl Error for PipelineError {
    /// The error of the stage or of its task.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.failure {
            Failure::Stage(error) => Some(&**error),
            Failure::Task(error) | Failure::Source(error) => Some(error),
            Failure::NoThread(error) => Some(error),
            Failure::Cancelled => None,
        }
    }
}
