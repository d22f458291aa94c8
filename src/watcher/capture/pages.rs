//! Memory in large pages: what is read at random needs one address translation instead of many.
//!
//! In: a number of values. Out: a slice of them, in large pages if it is long.
//! Never: fails where ordinary memory would do, or hands out memory that was not written.
//! Limits: [`LARGE_FROM`], [`HUGE`].
//! Source: mmap(2), madvise(2), `MADV_HUGEPAGE`.

use std::num::NonZero;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};
use std::slice;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// Size of a large page on the processors we run on.
pub const HUGE: usize = 2 << 20;

/// Bytes from which on large pages are worth what their last one leaves unused.
pub const LARGE_FROM: usize = HUGE / 2;

/// Bytes from which on memory comes from the kernel in whole pages, so that values of the size of
/// a cache line lie each in one.
const MAPPED_FROM: usize = 16 << 10;

/// A fixed number of plain values. A flow table is touched at random, one line a packet; in a
/// virtual machine a missing address translation costs more than the missing line itself.
#[derive(Debug)]
pub struct Room<T: Copy> {
    start: NonNull<T>,
    len: usize,
    /// Values that there is room for in what was mapped.
    most: usize,
    /// What was mapped, if it does not come from the allocator: address and bytes.
    mapped: Option<(usize, usize)>,
}

#[expect(unsafe_code, reason = "memory of our own; this room has the unsafe code")]
// SAFETY: a room owns its values alone, as a boxed slice does.
unsafe impl<T: Copy + Send> Send for Room<T> {}

impl<T: Copy> Room<T> {
    /// `len` copies of `value`. If they take large pages, addresses for `most` of them are set aside,
    /// so that the room can grow where it is; memory is used for those that there are.
    #[expect(unsafe_code, reason = "memory of our own; this room has the unsafe code")]
    pub fn new(value: T, len: usize, most: usize) -> Self {
        let bytes = len.saturating_mul(size_of::<T>());
        let most = if bytes < LARGE_FROM { len } else { most.max(len) };
        let aside = most.saturating_mul(size_of::<T>());
        let Some((base, mapped)) = (bytes >= MAPPED_FROM).then(|| map(aside)).flatten() else {
            let values = Box::leak(vec![value; len].into_boxed_slice());
            return Self { start: NonNull::from(values).cast(), len, most: len, mapped: None };
        };
        let start = if bytes < LARGE_FROM {
            base.cast()
        } else {
            let border = base.addr().get().next_multiple_of(HUGE);
            base.with_addr(NonZero::new(border).unwrap_or(base.addr())).cast()
        };
        // SAFETY: the aligned part of the mapping is `bytes` long (see `map`), writable, ours
        // alone, and aligned for any type. Every value is written before the slice exists.
        unsafe {
            for at in 0..len {
                start.add(at).write(value);
            }
        }
        Self { start, len, most, mapped: Some((base.addr().get(), mapped)) }
    }

    /// Makes the room `len` values long, the further ones copies of `value`; `false` if that many
    /// were not set aside.
    #[expect(unsafe_code, reason = "memory of our own; this room has the unsafe code")]
    pub fn grow(&mut self, value: T, len: usize) -> bool {
        if len > self.most || len < self.len {
            return false;
        }
        // SAFETY: addresses for `most` values are mapped from `start` on (see `new`), writable and
        // ours alone. Every value is written before it becomes part of the slice.
        unsafe {
            for at in self.len..len {
                self.start.add(at).write(value);
            }
        }
        self.len = len;
        true
    }
}

/// Maps memory that holds `bytes`, if large pages are worth it from the first border of one on;
/// nothing if the kernel refuses.
#[expect(unsafe_code, reason = "memory of our own; this room has the unsafe code")]
fn map(bytes: usize) -> Option<(NonNull<std::ffi::c_void>, usize)> {
    let large = bytes >= LARGE_FROM;
    let mapped =
        if large { bytes.checked_next_multiple_of(HUGE)?.checked_add(HUGE)? } else { bytes };
    // What is set aside is no promise that it will be used.
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice touches nothing that is there.
    let base = unsafe { mmap_anonymous(ptr::null_mut(), mapped, protection, flags) }.ok()?;
    if large {
        // SAFETY: advice changes no content. It may be refused, which costs speed only.
        let _ = unsafe { madvise(base, mapped, Advice::LinuxHugepage) };
    }
    Some((NonNull::new(base)?, mapped))
}

impl<T: Copy> Drop for Room<T> {
    #[expect(unsafe_code, reason = "memory of our own; this room has the unsafe code")]
    fn drop(&mut self) {
        match self.mapped {
            Some((base, bytes)) => {
                // SAFETY: mapped by `map` with these numbers, and nobody borrows it any more.
                let _ = unsafe { munmap(ptr::with_exposed_provenance_mut(base), bytes) };
            }
            None => {
                let values = ptr::slice_from_raw_parts_mut(self.start.as_ptr(), self.len);
                // SAFETY: leaked from such a box by `new`.
                drop(unsafe { Box::from_raw(values) });
            }
        }
    }
}

impl<T: Copy> Deref for Room<T> {
    type Target = [T];

    #[inline]
    #[expect(unsafe_code, reason = "memory of our own; this room has the unsafe code")]
    fn deref(&self) -> &[T] {
        // SAFETY: `len` values were written from `start` on, and are ours.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T: Copy> DerefMut for Room<T> {
    #[inline]
    #[expect(unsafe_code, reason = "memory of our own; this room has the unsafe code")]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and borrowed by nobody else.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_holds_what_was_put_there() {
        for len in [0, 1, 1000, MAPPED_FROM / 8, LARGE_FROM / 8, HUGE / 8 + 1, 3 * HUGE / 8] {
            let mut room = Room::new(7_u64, len, 0);
            assert_eq!((room.len(), room.iter().all(|&v| v == 7)), (len, true));
            room.iter_mut().zip(0..).for_each(|(v, n)| *v = n);
            assert!(room.iter().zip(0..).all(|(&v, n)| v == n), "{len} values");
            assert_eq!(room.mapped.is_some(), len >= MAPPED_FROM / 8);
            let border = if len >= LARGE_FROM / 8 { HUGE } else { 4096 };
            assert!(room.mapped.is_none() || room.as_ptr().addr().is_multiple_of(border));
            // It moves to the thread that owns it.
            let there = std::thread::spawn(move || room.len()).join().expect("a thread");
            assert_eq!(there, len);
        }
    }
    #[test]
    fn a_large_room_grows_where_it_is() {
        let (len, most) = (LARGE_FROM / 8, 4 * HUGE / 8);
        let mut room = Room::new(7_u64, len, most);
        let start = room.as_ptr();
        assert!(room.grow(8, most) && !room.grow(8, most + 1) && !room.grow(8, len));
        assert_eq!((room.as_ptr(), room.len()), (start, most));
        assert!(room.iter().zip(0..).all(|(&v, n)| v == if n < len { 7 } else { 8 }));
        let mut small = Room::new(7_u64, 10, most);
        assert!(small.grow(8, 10) && !small.grow(8, 11), "small ones are cheap to copy");
    }
}
