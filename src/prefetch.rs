//! The one hint to the processor: what will be needed soon.
//!
//! In: a value. Out: nothing. Never: reads it, or faults.

/// Asks the processor to fetch the line that `at` begins in.
#[inline]
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "the one prefetch hint of the packet path")]
pub fn prefetch<T>(at: &T) {
    // SAFETY: PREFETCHT0 reads nothing architecturally and never faults (Intel SDM vol. 2B).
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(
            std::ptr::from_ref(at).cast(),
        );
    }
}

/// Other processors fetch on their own.
#[inline]
#[cfg(not(target_arch = "x86_64"))]
pub fn prefetch<T>(_at: &T) {}
