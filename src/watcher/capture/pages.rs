//! Memory in large pages: what is read at random needs one address translation instead of many.
//!
//! In: memory that is not used yet. Out: a word to the kernel, who may ignore it.
//! Never: touches the memory, or fails.
//! Limits: [`HUGE`]; less than one such page is left alone.
//! Source: madvise(2), `MADV_HUGEPAGE`.

use std::mem::MaybeUninit;

/// Size of a large page on the processors we run on.
pub const HUGE: usize = 2 << 20;

/// Asks for large pages where `room` lies. A flow table is touched at random, one line a packet;
/// in a virtual machine a missing translation costs more than the missing line itself.
#[expect(unsafe_code, reason = "a hint to the kernel; this room has the unsafe code")]
pub fn prefer_huge<T>(room: &mut [MaybeUninit<T>]) {
    let len = size_of_val(room);
    if len < HUGE {
        return;
    }
    let start = room.as_mut_ptr();
    // From the beginning of its page on, as the call wants it: a hint for the neighbours too.
    let ahead = start.addr() & 0xfff;
    let start = start.wrapping_byte_sub(ahead).cast();
    // SAFETY: the advice changes no content and unmaps nothing, whatever the range holds.
    let _ = unsafe {
        rustix::mm::madvise(start, len.saturating_add(ahead), rustix::mm::Advice::LinuxHugepage)
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_the_same_before_and_after() {
        for bytes in [0, 1, HUGE - 1, HUGE, 3 * HUGE + 5] {
            let mut memory: Vec<u8> = Vec::with_capacity(bytes);
            prefer_huge(memory.spare_capacity_mut());
            memory.resize(bytes, 7);
            prefer_huge(memory.spare_capacity_mut());
            assert!(memory.iter().all(|&b| b == 7) && memory.len() == bytes);
        }
    }
}
