//! Linux's `epoll`: waits for many sockets at once.

use std::io::Error;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

pub struct Epoll(OwnedFd);

/// How often a socket is reported when it can be read.
#[derive(Clone, Copy)]
pub enum Report {
    /// As long as it can be read.
    Always,
    /// Once, and again when it has been armed again.
    Once,
}

impl Epoll {
    /// The most sockets that one wait returns.
    const MOST: usize = 64;

    pub fn new() -> Self {
        // SAFETY: the call has no preconditions.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        assert!(fd >= 0, "{}", Error::last_os_error());
        // SAFETY: the descriptor is new, and nobody else has it.
        Epoll(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    pub fn add(&self, socket: impl AsFd, key: usize, report: Report) {
        self.control(libc::EPOLL_CTL_ADD, socket, key, report);
    }

    pub fn arm_again(&self, socket: impl AsFd, key: usize) {
        self.control(libc::EPOLL_CTL_MOD, socket, key, Report::Once);
    }

    fn control(&self, operation: libc::c_int, socket: impl AsFd, key: usize, report: Report) {
        let once = match report {
            Report::Always => 0,
            Report::Once => libc::EPOLLONESHOT,
        };
        let mut event = libc::epoll_event { events: (libc::EPOLLIN | once) as u32, u64: key as u64 };
        // SAFETY: both descriptors are open, and the pointer is to an `epoll_event` of ours.
        let result = unsafe { libc::epoll_ctl(self.0.as_raw_fd(), operation, socket.as_fd().as_raw_fd(), &mut event) };
        assert_eq!(result, 0, "{}", Error::last_os_error());
    }

    /// Blocks until a socket can be read, and calls `each` with the key of each, of `most` at once and of 64 at most.
    pub fn wait(&self, most: usize, mut each: impl FnMut(usize)) {
        let mut events = [MaybeUninit::<libc::epoll_event>::uninit(); Self::MOST];
        let most = most.min(Self::MOST);
        // SAFETY: the pointer is to as many `epoll_event`s of ours as it says, or more.
        let count =
            unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr().cast(), most as libc::c_int, -1) };
        assert!(count >= 0, "{}", Error::last_os_error());
        for event in &events[..count as usize] {
            // SAFETY: the call has written so many.
            each(unsafe { event.assume_init() }.u64 as usize);
        }
    }
}
