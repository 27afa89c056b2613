//! A value that is taken out by value or not at all.

/// Makes a value of any type `Sync`, since a shared reference to it gives no access to the value (as `std`'s unstable `Exclusive`).
/// So an error that carries a refused closure is `Sync`, whatever the closure captured.
pub(super) struct Exclusive<T>(T);

impl<T> Exclusive<T> {
    pub(super) fn new(value: T) -> Self {
        Exclusive(value)
    }

    pub(super) fn into_inner(self) -> T {
        self.0
    }
}

// SAFETY: `Sync` allows several threads to use one `&Exclusive<T>`. The field is private to this module, which reaches it
// only with ownership of the whole: no function here takes a reference, and no trait is implemented that does (`Clone`, `Debug`,
// `Deref`, `PartialEq`). So no thread reaches a `T` that another one has. Moving the value to another thread, to take it out or
// to drop it there, still needs `T: Send`: `Send` is derived and not promised here.
unsafe impl<T> Sync for Exclusive<T> {}
