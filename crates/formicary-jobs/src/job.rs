//! What a job is, before it is in a store.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{BoxError, StoreError, StoreErrorKind};

/// A type of job: its payload, its name in the store, and its version.
///
/// The payload is stored as JSON. A payload of another version goes through [`upgrade`](Self::upgrade).
///
/// ```
/// use formicary_jobs::{BoxError, Job};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Mail {
///     to: String,
///     urgent: bool, // since version 2
/// }
///
/// impl Job for Mail {
///     const KIND: &'static str = "mail";
///     const VERSION: u32 = 2;
///
///     fn upgrade(version: u32, payload: &[u8]) -> Result<Self, BoxError> {
///         #[derive(Deserialize)]
///         struct First {
///             to: String,
///         }
///         match version {
///             1 => Ok(Mail { to: serde_json::from_slice::<First>(payload)?.to, urgent: false }),
///             _ => Err(format!("no version {version} of a mail").into()),
///         }
///     }
/// }
/// assert!(!Mail::decode(1, br#"{"to":"ant"}"#)?.urgent);
/// assert!(Mail::decode(3, b"{}").is_err());
/// # Ok::<(), BoxError>(())
/// ```
pub trait Job: Serialize + DeserializeOwned + Send + 'static {
    /// The name in the store: 1 to 64 of `a-z A-Z 0-9 _ -`. Jobs of a kind that no handler of a runner has go to the dead letters.
    const KIND: &'static str;

    /// The version of the payload; 1 unless said otherwise. Raise it when an older payload no longer decodes.
    const VERSION: u32 = 1;

    /// Decodes a payload of another version, older or newer.
    ///
    /// # Errors
    /// By default always. The job then goes to the dead letters with this error.
    fn upgrade(version: u32, payload: &[u8]) -> Result<Self, BoxError> {
        let _ = payload;
        Err(format!("version {version} of `{}` cannot be read: this program has version {}", Self::KIND, Self::VERSION)
            .into())
    }

    /// Decodes a payload of any version.
    ///
    /// # Errors
    /// The payload is not what the type says, or [`upgrade`](Self::upgrade) refused it.
    fn decode(version: u32, payload: &[u8]) -> Result<Self, BoxError> {
        if version == Self::VERSION { Ok(serde_json::from_slice(payload)?) } else { Self::upgrade(version, payload) }
    }
}

/// A job to be pushed.
///
/// ```
/// use formicary_jobs::{Job, Push, Pushed, Sqlite, Store};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)]
/// # struct Mail { to: String }
/// # impl Job for Mail { const KIND: &'static str = "mail"; }
///
/// let store = Sqlite::in_memory()?;
/// let mail = Push::of(&Mail { to: "ant".into() })?.key("order-17").attempts(3);
/// assert!(matches!(store.push(&[mail.clone()])?[..], [Pushed::New(_)]));
/// assert!(matches!(store.push(&[mail])?[..], [Pushed::Duplicate]));
/// # Ok::<(), formicary_jobs::StoreError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Push {
    /// The name of its type.
    pub kind: String,
    /// The version of the payload.
    pub version: u32,
    /// What the handler decodes.
    pub payload: Vec<u8>,
    /// See [`Push::key`].
    pub key: Option<String>,
    /// See [`Push::attempts`].
    pub attempts: u32,
}

impl Push {
    /// A job of a type, at most 5 attempts, without a key.
    ///
    /// # Errors
    /// [`Invalid`](StoreErrorKind::Invalid): the payload does not encode, or the kind's name is wrong.
    ///
    /// ```
    /// # use formicary_jobs::{Job, Push};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize)]
    /// # struct Mail { to: String }
    /// # impl Job for Mail { const KIND: &'static str = "mail"; }
    /// let mail = Push::of(&Mail { to: "ant".into() })?;
    /// # Ok::<(), formicary_jobs::StoreError>(())
    /// ```
    pub fn of<J: Job>(job: &J) -> Result<Self, StoreError> {
        let payload = serde_json::to_vec(job).map_err(|error| {
            StoreError::of(StoreErrorKind::Invalid, &format!("a payload of `{}` does not encode", J::KIND), error)
        })?;
        Push::raw(J::KIND, J::VERSION, payload)
    }

    /// A job whose type this program does not have.
    ///
    /// # Errors
    /// [`Invalid`](StoreErrorKind::Invalid): the kind's name is wrong.
    ///
    /// ```
    /// let mail = formicary_jobs::Push::raw("mail", 1, r#"{"to":"ant"}"#)?;
    /// # Ok::<(), formicary_jobs::StoreError>(())
    /// ```
    pub fn raw(kind: &str, version: u32, payload: impl Into<Vec<u8>>) -> Result<Self, StoreError> {
        check_name(kind, "kind of job")?;
        Ok(Push { kind: kind.to_owned(), version, payload: payload.into(), key: None, attempts: 5 })
    }

    /// A second job with this key is not stored while the store remembers the key: a day, unless the store says otherwise.
    /// The handler sees it ([`JobContext::key`](crate::JobContext::key)), so that an effect that happened is not repeated.
    ///
    /// ```
    /// let mail = formicary_jobs::Push::raw("mail", 1, "{}")?.key("order-17");
    /// # Ok::<(), formicary_jobs::StoreError>(())
    /// ```
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// How often the job may be started before it goes to the dead letters; 5 unless said otherwise.
    ///
    /// # Panics
    /// With 0.
    ///
    /// ```
    /// let once = formicary_jobs::Push::raw("mail", 1, "{}")?.attempts(1);
    /// # Ok::<(), formicary_jobs::StoreError>(())
    /// ```
    #[track_caller]
    pub fn attempts(mut self, attempts: u32) -> Self {
        assert!(attempts > 0, "a job needs at least one attempt");
        self.attempts = attempts;
        self
    }
}

/// Names are parts of keys and subjects in the stores.
pub(crate) fn check_name(name: &str, what: &str) -> Result<(), StoreError> {
    let good =
        (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let error = || {
        StoreError::new(StoreErrorKind::Invalid, format!("{name:?} is no name of a {what}: 1 to 64 of a-z A-Z 0-9 _ -"))
    };
    good.then_some(()).ok_or_else(error)
}
