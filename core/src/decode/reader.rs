//! A cursor over bytes, every read checked. Integers are little-endian, as MySQL writes them,
//! unless a name says otherwise.

use super::DecodeError;

/// Reads one thing from front to back; `what` names that thing in errors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    what: &'static str,
    len: usize,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self {
            what,
            len: bytes.len(),
            rest: bytes,
        }
    }

    /// Bytes read so far.
    #[inline]
    pub(crate) fn offset(&self) -> usize {
        self.len - self.rest.len()
    }

    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[cold]
    fn short(&self, needed: usize) -> DecodeError {
        DecodeError::Truncated {
            what: self.what,
            offset: self.offset(),
            needed,
            available: self.rest.len(),
        }
    }

    /// An error about what is next.
    #[cold]
    pub(crate) fn malformed(&self, detail: impl std::fmt::Display) -> DecodeError {
        DecodeError::malformed(self.what, self.offset(), detail)
    }

    #[inline]
    pub(crate) fn bytes(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        match self.rest.split_at_checked(n) {
            Some((head, rest)) => {
                self.rest = rest;
                Ok(head)
            }
            None => Err(self.short(n)),
        }
    }

    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.rest.split_first_chunk::<N>() {
            Some((head, rest)) => {
                self.rest = rest;
                Ok(*head)
            }
            None => Err(self.short(N)),
        }
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[b]| b)
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_le_bytes)
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    #[inline]
    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    /// An integer of `n` bytes, at most 8.
    #[inline]
    pub(crate) fn uint(&mut self, n: usize) -> Result<u64, DecodeError> {
        self.bytes(n).map(uint_le)
    }

    /// A length-encoded integer (`net_field_length_ll` in `mysys/pack.cc`).
    #[inline]
    pub(crate) fn lenenc(&mut self) -> Result<u64, DecodeError> {
        match self.u8()? {
            small @ 0..=250 => Ok(u64::from(small)),
            252 => self.uint(2),
            253 => self.uint(3),
            254 => self.u64(),
            marker => Err(self.malformed(format_args!("{marker} does not start a length"))),
        }
    }

    /// A length-encoded integer as a number of bytes or entries.
    #[inline]
    pub(crate) fn lenenc_size(&mut self) -> Result<usize, DecodeError> {
        let value = self.lenenc()?;
        usize::try_from(value).map_err(|_| self.malformed(format_args!("length {value}")))
    }

    /// Bytes behind a length-encoded length.
    #[inline]
    pub(crate) fn lenenc_bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let n = self.lenenc_size()?;
        self.bytes(n)
    }
}

/// Little-endian integer of up to 8 bytes; what is beyond the eighth is left out.
#[inline]
pub(crate) fn uint_le(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .take(8)
        .rev()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// Big-endian integer of up to 8 bytes; what is beyond the eighth is left out.
#[inline]
pub(crate) fn uint_be(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .take(8)
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// Whether bit `index` (from the lowest bit of the first byte) is set; beyond the end it is not.
#[inline]
pub(crate) fn bit(bitmap: &[u8], index: usize) -> bool {
    bitmap
        .get(index / 8)
        .is_some_and(|byte| byte >> (index % 8) & 1 == 1)
}
