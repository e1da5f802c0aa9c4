//! Relay buffers, pooled per thread and used only while bytes are in transit, so
//! that an idle tunnel has none.

use std::cell::RefCell;

/// Large enough that bulk transfers need few system calls.
pub(super) const BUFFER_SIZE: usize = 64 * 1024;

/// The buffers that each thread keeps for reuse; more are freed.
const MAX_KEPT: usize = 32;

thread_local! {
    static KEPT: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer with the range that is read and not yet written.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    space: Option<Box<[u8]>>,
    start: usize,
    end: usize,
}

impl Buffer {
    pub(super) fn holding(bytes: &[u8]) -> Self {
        let mut buffer = Self::default();
        if !bytes.is_empty() {
            buffer.hold(bytes.into());
            buffer.fill(bytes.len());
        }
        buffer
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The bytes that are not written yet.
    pub(super) fn filled(&self) -> &[u8] {
        self.space
            .as_deref()
            .and_then(|space| space.get(self.start..self.end))
            .unwrap_or_default()
    }

    /// The whole space, to read into while the buffer is empty.
    pub(super) fn space(&mut self) -> &mut [u8] {
        debug_assert!(self.is_empty(), "unwritten bytes would be lost");
        // The early bytes of a tunnel have a space of their own size: further
        // reads into it would be limited to that size.
        if self
            .space
            .as_ref()
            .is_some_and(|space| space.len() != BUFFER_SIZE)
        {
            self.release();
        }
        if self.space.is_none() {
            let kept = KEPT.try_with(|kept| kept.borrow_mut().pop());
            self.hold(
                kept.ok()
                    .flatten()
                    .unwrap_or_else(|| vec![0; BUFFER_SIZE].into_boxed_slice()),
            );
        }
        self.space.as_deref_mut().unwrap_or_default()
    }

    pub(super) fn fill(&mut self, len: usize) {
        self.start = 0;
        self.end = len;
    }

    pub(super) fn consume(&mut self, len: usize) {
        self.start = self.end.min(self.start + len);
    }

    /// Returns the space to the pool; the next read takes one again.
    pub(super) fn release(&mut self) {
        debug_assert!(self.is_empty(), "unwritten bytes would be lost");
        let Some(space) = self.space.take() else {
            return;
        };
        #[cfg(test)]
        tests::count(-1);
        if space.len() != BUFFER_SIZE {
            return;
        }
        // A tunnel that is dropped while its thread ends may find no pool: then the
        // closure frees the space.
        KEPT.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            if kept.len() < MAX_KEPT {
                kept.push(space);
            }
        })
        .unwrap_or_default();
    }

    fn hold(&mut self, space: Box<[u8]>) {
        self.space = Some(space);
        #[cfg(test)]
        tests::count(1);
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.start = self.end;
        self.release();
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        static HELD: Cell<isize> = const { Cell::new(0) };
    }

    /// The number of buffers of this thread that have a space.
    pub(in crate::tunnel) fn held() -> isize {
        HELD.get()
    }

    pub(super) fn count(change: isize) {
        HELD.set(HELD.get() + change);
    }

    #[test]
    fn early_bytes_come_first_and_their_space_is_not_kept() {
        let mut buffer = Buffer::holding(b"early");
        assert_eq!(buffer.filled(), b"early");
        buffer.consume(2);
        assert_eq!(buffer.filled(), b"rly");
        buffer.consume(3);
        assert!(buffer.is_empty());
        assert_eq!(buffer.space().len(), BUFFER_SIZE);
        assert_eq!(held(), 1);
        buffer.fill(0);
        buffer.release();
        assert_eq!(held(), 0);
        assert_eq!(KEPT.with_borrow(Vec::len), 1);
    }

    #[test]
    fn a_released_buffer_is_used_again() {
        let mut first = Buffer::default();
        let address = first.space().as_ptr();
        first.fill(0);
        first.release();
        let mut second = Buffer::default();
        assert_eq!(second.space().as_ptr(), address);
    }

    #[test]
    fn no_more_than_the_limit_is_kept() {
        let mut buffers: Vec<_> = (0..MAX_KEPT + 3).map(|_| Buffer::default()).collect();
        for buffer in &mut buffers {
            buffer.space();
        }
        drop(buffers);
        assert_eq!(held(), 0);
        assert_eq!(KEPT.with_borrow(Vec::len), MAX_KEPT);
    }

    #[test]
    fn a_buffer_dropped_after_the_pool_of_its_thread_is_freed() {
        thread_local! {
            static LATE: RefCell<Option<Buffer>> = const { RefCell::new(None) };
        }
        std::thread::spawn(|| {
            // Destroyed in the order of first use or the other way round: either
            // way one of the two outlives the pool.
            LATE.with_borrow_mut(|late| *late = Some(Buffer::holding(&[0; BUFFER_SIZE])));
            drop(Buffer::holding(&[0; BUFFER_SIZE]));
            thread_local! {
                static LATER: RefCell<Option<Buffer>> = const { RefCell::new(None) };
            }
            LATER.with_borrow_mut(|late| *late = Some(Buffer::holding(&[0; BUFFER_SIZE])));
        })
        .join()
        .unwrap();
    }
}
