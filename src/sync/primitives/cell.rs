//! The standard library's cell with the interface of loom's.

/// The standard library's cell with the interface of loom's.
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        UnsafeCell(std::cell::UnsafeCell::new(value))
    }

    /// Runs `f` with a pointer to the value. The caller makes sure that no thread writes the value meanwhile.
    pub(crate) fn with<O>(&self, f: impl FnOnce(*const T) -> O) -> O {
        f(self.0.get())
    }

    /// Runs `f` with a pointer to the value. The caller makes sure that no other thread uses the value meanwhile.
    pub(crate) fn with_mut<O>(&self, f: impl FnOnce(*mut T) -> O) -> O {
        f(self.0.get())
    }
}
