//! Who a task belongs to.

use std::fmt;

use crate::sync::Arc;

/// The tenant that a task belongs to, on a pool with the dispatch [`Fair`](crate::Fair): a number or a name. Cheap to clone.
///
/// Numbers are equal whatever their type. A number is never equal to a name.
///
/// ```
/// use formicary::Tenant;
///
/// assert_eq!(Tenant::from(7_u8), Tenant::from(7_i64));
/// assert_eq!(Tenant::from("acme"), Tenant::from(String::from("acme")));
/// assert_ne!(Tenant::from(7_u8), Tenant::from("7"));
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenant(Id);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Id {
    Negative(i64),
    Number(u64),
    Name(Arc<str>),
}

impl Tenant {
    /// Its name, if it is not a number.
    ///
    /// ```
    /// assert_eq!(formicary::Tenant::from("acme").name(), Some("acme"));
    /// ```
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match &self.0 {
            Id::Name(name) => Some(name),
            Id::Negative(_) | Id::Number(_) => None,
        }
    }

    /// Its number, if it is not a name.
    ///
    /// ```
    /// assert_eq!(formicary::Tenant::from(-7).number(), Some(-7));
    /// ```
    #[must_use]
    pub fn number(&self) -> Option<i128> {
        match &self.0 {
            Id::Negative(number) => Some(i128::from(*number)),
            Id::Number(number) => Some(i128::from(*number)),
            Id::Name(_) => None,
        }
    }
}

impl From<&str> for Tenant {
    fn from(name: &str) -> Self {
        Tenant(Id::Name(name.into()))
    }
}

impl From<String> for Tenant {
    fn from(name: String) -> Self {
        Tenant(Id::Name(name.into()))
    }
}

impl From<Arc<str>> for Tenant {
    fn from(name: Arc<str>) -> Self {
        Tenant(Id::Name(name))
    }
}

impl From<&Tenant> for Tenant {
    fn from(tenant: &Tenant) -> Self {
        tenant.clone()
    }
}

macro_rules! from_numbers {
    (unsigned: $($unsigned:ty)*, signed: $($signed:ty)*) => {
        $(impl From<$unsigned> for Tenant {
            fn from(number: $unsigned) -> Self {
                // No such type is wider than 64 bits.
                Tenant(Id::Number(number as u64))
            }
        })*
        $(impl From<$signed> for Tenant {
            fn from(number: $signed) -> Self {
                // As above.
                let number = number as i64;
                Tenant(u64::try_from(number).map_or(Id::Negative(number), Id::Number))
            }
        })*
    };
}
from_numbers!(unsigned: u8 u16 u32 u64 usize, signed: i8 i16 i32 i64 isize);

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Id::Negative(number) => number.fmt(f),
            Id::Number(number) => number.fmt(f),
            Id::Name(name) => name.fmt(f),
        }
    }
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Id::Negative(number) => write!(f, "Tenant({number})"),
            Id::Number(number) => write!(f, "Tenant({number})"),
            Id::Name(name) => write!(f, "Tenant({name:?})"),
        }
    }
}

/// A snapshot of one tenant of a [`Fair`](crate::Fair) pool that has tasks there.
///
/// ```
/// use formicary::{Fair, Pool, Tenant};
///
/// let pool = Pool::builder().workers(1).dispatch::<Fair>().share(|_| 5).build()?;
/// let pause = pool.pause();
/// pool.with().tenant("acme").submit(|| ())?;
/// pool.with().tenant("acme").submit(|| ())?;
///
/// let acme = &pool.tenants()[0];
/// assert_eq!(acme.tenant, Some(Tenant::from("acme")));
/// assert_eq!((acme.weight, acme.queued, acme.running, acme.submitted), (5, 2, 0, 2));
/// # drop(pause);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TenantStats {
    /// The tenant; `None` is the default tenant, that of tasks without one.
    pub tenant: Option<Tenant>,
    /// Its weight, as [`Builder::share`](crate::Builder::share) said when it became active.
    pub weight: u32,
    /// Its tasks that have not started. As in the queue itself, a task that was cancelled counts until its entry is removed.
    pub queued: usize,
    /// Its tasks that are running, but for those that run inside another task.
    pub running: usize,
    /// Tasks accepted since it became active; of the default tenant, all.
    pub submitted: u64,
}
