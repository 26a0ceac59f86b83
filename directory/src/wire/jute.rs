//! Jute, ZooKeeper's encoding: big-endian numbers, and strings, buffers and vectors with an
//! `int` length before them (-1 for none). Reading is checked: no bytes, however wrong, make it
//! panic or reserve more memory than they fill.

use bytes::{BufMut, BytesMut};

/// The bytes don't hold what they should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JuteError {
    /// They end too early.
    #[error("the record ends before its fields do")]
    Short,
    /// A length is negative, or a flag neither 0 nor 1.
    #[error("a length or flag in the record is out of range")]
    Range,
    /// A string isn't UTF-8.
    #[error("a string in the record is not UTF-8")]
    Utf8,
}

/// Reads a record's fields in their order.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Over `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What hasn't been read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], JuteError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(JuteError::Short)?;
        self.rest = rest;
        Ok(*head)
    }

    /// A byte.
    ///
    /// # Errors
    /// [`JuteError::Short`].
    pub fn u8(&mut self) -> Result<u8, JuteError> {
        Ok(u8::from_be_bytes(self.take()?))
    }

    /// An `int`.
    ///
    /// # Errors
    /// [`JuteError::Short`].
    pub fn i32(&mut self) -> Result<i32, JuteError> {
        Ok(i32::from_be_bytes(self.take()?))
    }

    /// A `long`.
    ///
    /// # Errors
    /// [`JuteError::Short`].
    pub fn i64(&mut self) -> Result<i64, JuteError> {
        Ok(i64::from_be_bytes(self.take()?))
    }

    /// A `boolean`.
    ///
    /// # Errors
    /// [`JuteError`].
    pub fn bool(&mut self) -> Result<bool, JuteError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(JuteError::Range),
        }
    }

    /// A `buffer`; `None` if there is none, which is not the same as an empty one.
    ///
    /// # Errors
    /// [`JuteError`].
    pub fn buffer(&mut self) -> Result<Option<&'a [u8]>, JuteError> {
        match self.i32()? {
            -1 => Ok(None),
            len => {
                let len = usize::try_from(len).map_err(|_| JuteError::Range)?;
                let (head, rest) = self.rest.split_at_checked(len).ok_or(JuteError::Short)?;
                self.rest = rest;
                Ok(Some(head))
            }
        }
    }

    /// A `ustring`; none is read as empty.
    ///
    /// # Errors
    /// [`JuteError`].
    pub fn string(&mut self) -> Result<&'a str, JuteError> {
        std::str::from_utf8(self.buffer()?.unwrap_or_default()).map_err(|_| JuteError::Utf8)
    }

    /// A `vector`, whose elements `read` reads.
    ///
    /// # Errors
    /// [`JuteError`], and what `read` says.
    pub fn vector<T, E: From<JuteError>>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<T, E>,
    ) -> Result<Vec<T>, E> {
        let len = match self.i32()? {
            -1 => 0,
            len => usize::try_from(len).map_err(|_| JuteError::Range)?,
        };
        // An element has at least one byte, so a length that lies is found before it costs.
        if len > self.rest.len() {
            return Err(JuteError::Short.into());
        }
        let mut out = Vec::new();
        for _ in 0..len {
            out.push(read(self)?);
        }
        Ok(out)
    }
}

/// Writes fields in jute's encoding.
pub trait JuteWrite {
    /// An `int`.
    fn int(&mut self, value: i32);
    /// A `long`.
    fn long(&mut self, value: i64);
    /// A `boolean`.
    fn boolean(&mut self, value: bool);
    /// A `buffer`, or none.
    fn buffer(&mut self, value: Option<&[u8]>);
    /// A `ustring`.
    fn ustring(&mut self, value: &str) {
        self.buffer(Some(value.as_bytes()));
    }
    /// The length before a vector's elements.
    fn count(&mut self, len: usize) {
        self.int(i32::try_from(len).unwrap_or(i32::MAX));
    }
}

impl JuteWrite for BytesMut {
    fn int(&mut self, value: i32) {
        self.put_i32(value);
    }
    fn long(&mut self, value: i64) {
        self.put_i64(value);
    }
    fn boolean(&mut self, value: bool) {
        self.put_u8(u8::from(value));
    }
    fn buffer(&mut self, value: Option<&[u8]>) {
        match value {
            None => self.put_i32(-1),
            Some(bytes) => {
                self.count(bytes.len());
                self.put_slice(bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let mut out = BytesMut::new();
        out.int(-7);
        out.long(i64::MIN);
        out.boolean(true);
        out.buffer(None);
        out.buffer(Some(b""));
        out.ustring("héllo");
        let mut reader = Reader::new(&out);
        assert_eq!(reader.i32(), Ok(-7));
        assert_eq!(reader.i64(), Ok(i64::MIN));
        assert_eq!(reader.bool(), Ok(true));
        assert_eq!(reader.buffer(), Ok(None));
        assert_eq!(reader.buffer(), Ok(Some(&b""[..])));
        assert_eq!(reader.string(), Ok("héllo"));
        assert_eq!(reader.i32(), Err(JuteError::Short));
    }

    #[test]
    fn lying_lengths() {
        let huge = [0x7f, 0xff, 0xff, 0xff, 1];
        assert_eq!(Reader::new(&huge).buffer(), Err(JuteError::Short));
        assert_eq!(Reader::new(&huge).vector(|r| r.u8()), Err(JuteError::Short));
        let negative = [0xff, 0xff, 0xff, 0xfe];
        assert_eq!(Reader::new(&negative).buffer(), Err(JuteError::Range));
        assert_eq!(
            Reader::new(&[0, 0, 0, 1, 0xff]).string(),
            Err(JuteError::Utf8)
        );
        assert_eq!(Reader::new(&[2]).bool(), Err(JuteError::Range));
    }
}
