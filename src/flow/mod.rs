//! Flow control: what enters a pool when, in which order, and what becomes of what has come.

mod dependencies;
