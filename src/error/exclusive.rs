//! A wrapper that gives access to its value only by ownership.

/// Makes a value of any type `Sync`: a shared reference to the wrapper gives no access to the value (as `std`'s unstable
/// `Exclusive`). So an error that carries a refused closure is `Sync` whatever the closure captures.
pub(super) struct Exclusive<T>(T);

impl<T> Exclusive<T> {
    pub(super) fn new(value: T) -> Self {
        Exclusive(value)
    }

    pub(super) fn into_inner(self) -> T {
        self.0
    }
}

// SAFETY: `Sync` allows several threads to use one `&Exclusive<T>`. The field is private to this module, which reaches it only
// through ownership of the wrapper: no function here takes a reference, and no trait is implemented that does (`Clone`, `Debug`,
// `Deref`, `PartialEq`). So no thread reaches a `T` that another thread can reach. Moving the value to another thread, to take
// it out or to drop it there, still needs `T: Send`: `Send` is derived and not implemented here.
unsafe impl<T> Sync for Exclusive<T> {}
