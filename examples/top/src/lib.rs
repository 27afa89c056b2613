//! Shows the pools of a process live: on a terminal ([`terminal::run`]) and as a web page ([`web::serve`]).
//!
//! Both show the pools that have joined [`formicary::observe::registry`], and can pause, resume and resize them. A pool shows its times if
//! it was built with `latencies()`, and what each worker runs if it was built with `running_tasks()`.
//!
//! ```
//! use formicary::Pool;
//! use formicary::observe::registry;
//!
//! let pool = Pool::builder().name("thumbnails").latencies().running_tasks().build()?;
//! registry().add(&pool);
//!
//! let server = formicary_top::web::serve("127.0.0.1:0".parse()?)?;
//! println!("http://{}/", server.addr());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Safety of the page
//!
//! Whoever can reach the page can pause and resize the pools. It has no login, so it is for the machine that it runs on:
//! [`web::serve`] listens on loopback addresses only, and refuses what other sites make a browser send. Any user of the same machine can
//! reach it. To look from elsewhere, forward the port: `ssh -L 7878:127.0.0.1:7878 host`.

mod action;
mod cells;
pub mod demo;
mod http;
mod sampler;
pub mod snapshot;
pub mod terminal;
mod text;
pub mod web;

pub use sampler::Sampler;
