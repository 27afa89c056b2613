//! The cases, on `threadpool` itself: what they assert about this crate is what `threadpool` does.

mod cases;

use original as subject;
