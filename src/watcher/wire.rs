//! Cursor over bytes that an attacker wrote, and the two ways they can disappoint.
//!
//! In: a byte slice. Out: big-endian integers and sub-slices, each checked once.
//! Never: panics, copies, allocates.

/// Why bytes could not be read as what they claimed to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// The bytes end before the field does, and no more can come.
    Short,
    /// The bytes break a rule of the protocol.
    Invalid,
    /// A named limit of ours is met.
    Limit,
}

/// Which field broke, and how. `Copy`, no allocation: it is counted, seldom shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParseError {
    /// Field in the words of the protocol's specification.
    pub field: &'static str,
    /// Kind of breach.
    pub why: Why,
}

impl ParseError {
    /// The bytes end inside `field`.
    pub const fn short(field: &'static str) -> Self {
        Self { field, why: Why::Short }
    }

    /// `field` holds what the protocol forbids.
    pub const fn invalid(field: &'static str) -> Self {
        Self { field, why: Why::Invalid }
    }

    /// `field` is beyond what we are willing to read.
    pub const fn limit(field: &'static str) -> Self {
        Self { field, why: Why::Limit }
    }
}

/// A value or the reason why there is none.
pub type Parsed<T> = Result<T, ParseError>;

/// Big-endian cursor. Every read names the field, so that an error says where it broke.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Bytes not read yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Number of bytes not read yet.
    pub const fn len(&self) -> usize {
        self.rest.len()
    }

    /// `true` once everything is read.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Next `n` bytes.
    ///
    /// # Errors
    /// `Short` if fewer are left.
    pub fn take(&mut self, n: usize, field: &'static str) -> Parsed<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or(ParseError::short(field))?;
        self.rest = rest;
        Ok(head)
    }

    /// Next `N` bytes as an array.
    ///
    /// # Errors
    /// `Short` if fewer are left.
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Parsed<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(ParseError::short(field))?;
        self.rest = rest;
        Ok(*head)
    }

    /// A reader over the next `n` bytes; this one goes on behind them.
    ///
    /// # Errors
    /// `Short` if fewer are left.
    pub fn sub(&mut self, n: usize, field: &'static str) -> Parsed<Reader<'a>> {
        self.take(n, field).map(Reader::new)
    }

    /// Passes over `n` bytes.
    ///
    /// # Errors
    /// `Short` if fewer are left.
    pub fn skip(&mut self, n: usize, field: &'static str) -> Parsed<()> {
        self.take(n, field).map(|_| ())
    }

    /// One octet.
    ///
    /// # Errors
    /// `Short` at the end.
    pub fn u8(&mut self, field: &'static str) -> Parsed<u8> {
        self.array::<1>(field).map(|[b]| b)
    }

    /// 16 bits, big-endian.
    ///
    /// # Errors
    /// `Short` if fewer than 2 bytes are left.
    pub fn u16(&mut self, field: &'static str) -> Parsed<u16> {
        self.array(field).map(u16::from_be_bytes)
    }

    /// 24 bits, big-endian.
    ///
    /// # Errors
    /// `Short` if fewer than 3 bytes are left.
    pub fn u24(&mut self, field: &'static str) -> Parsed<u32> {
        self.array(field).map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]))
    }

    /// 32 bits, big-endian.
    ///
    /// # Errors
    /// `Short` if fewer than 4 bytes are left.
    pub fn u32(&mut self, field: &'static str) -> Parsed<u32> {
        self.array(field).map(u32::from_be_bytes)
    }

    /// 64 bits, big-endian.
    ///
    /// # Errors
    /// `Short` if fewer than 8 bytes are left.
    pub fn u64(&mut self, field: &'static str) -> Parsed<u64> {
        self.array(field).map(u64::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_in_order_and_names_the_field_that_is_short() {
        let mut r = Reader::new(&[1, 0, 2, 0, 0, 3, 9]);
        assert_eq!(r.u8("a"), Ok(1));
        assert_eq!(r.u16("b"), Ok(2));
        assert_eq!(r.u24("c"), Ok(3));
        assert_eq!(r.u32("d"), Err(ParseError::short("d")));
        assert_eq!(r.rest(), [9], "a failed read consumes nothing");
    }
}
