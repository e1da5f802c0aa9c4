//! How many requests Pingora has.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Requests in Pingora's hands that make a crowd. Below that a request goes there at
/// once; it then costs some 20 KiB, and so thousands that wait for a slot cost less
/// if they wait outside.
const CROWD: usize = 128;

/// How many requests are in Pingora's hands.
#[derive(Debug, Default)]
pub struct Crowd(AtomicUsize);

/// One request in Pingora's hands, until dropped.
#[derive(Debug)]
pub struct Inside<'a>(&'a Crowd);

impl Crowd {
    /// One more.
    pub fn enter(&self) -> Inside<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Inside(self)
    }

    /// Whether one more had better wait outside.
    pub fn is_large(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= CROWD
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}
