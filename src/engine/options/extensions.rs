//! What `observe` adds to a pool. The engine keeps it, and does not know what it is.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Options;
use crate::engine::observer::Observer;

/// At most one of each type.
#[derive(Clone, Default)]
pub(crate) struct Extensions {
    all: Vec<Arc<dyn Any + Send + Sync>>,
    /// Panics of user code that they have called.
    panics: Arc<AtomicU64>,
}

impl Extensions {
    /// The extension of this type.
    pub(crate) fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.all.iter().find_map(|extension| Arc::clone(extension).downcast().ok())
    }

    /// Where an extension counts the panics of user code that it has called.
    pub(crate) fn panic_counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.panics)
    }

    pub(crate) fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }
}

impl Options {
    /// The extension of this type. If there is none yet, it is made, and becomes the last of the observers.
    pub(crate) fn extension<T: Observer + Default>(&mut self) -> Arc<T> {
        self.extensions.get().unwrap_or_else(|| {
            let extension = Arc::<T>::default();
            self.observers.push(Arc::clone(&extension) as _);
            self.extensions.all.push(Arc::clone(&extension) as _);
            extension
        })
    }
}
