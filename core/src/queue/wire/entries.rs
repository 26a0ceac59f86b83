//! The body of a DATA message: origins and files once, then entries that name them by index.

use bytes::{Buf, BufMut, Bytes};
use towpath_protocol::gtid::{Gtid, GtidOrigin};
use towpath_protocol::position::BinlogPosition;
use uuid::Uuid;

use super::body::file_name;
use super::{Entry, Part, WireError};

const ENTRY_PART: u8 = 1;
const ENTRY_PREPARED: u8 = 2;

const LAST: u8 = 1;
const CUT: u8 = 2;
const ENDS: u8 = 4;

/// Bytes of a part beside its events, without *ends*.
const PART_BYTES: usize = 1 + 1 + GTID_BYTES + 8 + 4 + 10 + 4;
const GTID_BYTES: usize = 10;

/// The shortest entry.
const ENTRY_BYTES_MIN: usize = 1 + GTID_BYTES;

/// Writes entries until there is enough for a body.
#[derive(Debug, Default)]
pub(in crate::queue) struct EntryWriter {
    origins: Vec<GtidOrigin>,
    files: Vec<String>,
    entries: u32,
    /// Bytes of the two lists, as they will be.
    list_bytes: usize,
    written: Vec<u8>,
}

impl EntryWriter {
    /// Whether nothing was written.
    pub(in crate::queue) fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Bytes of the body so far.
    pub(in crate::queue) fn body_bytes(&self) -> usize {
        2 + 2 + 4 + self.list_bytes + self.written.len()
    }

    /// Bytes that a part takes at most beside its events.
    pub(in crate::queue) fn part_bytes_max(part: &Part) -> usize {
        let origin = |gtid: &Gtid| GTID_BYTES + 17 + gtid.origin.tag.len();
        PART_BYTES
            + origin(&part.gtid)
            + part.ends.as_ref().map_or(0, origin)
            + 2
            + part.after.file.len()
    }

    /// Whether no further origin or file can be named.
    pub(in crate::queue) fn is_full(&self) -> bool {
        // Two origins and a file may be added at once.
        self.origins.len() >= usize::from(u16::MAX) - 2
            || self.files.len() >= usize::from(u16::MAX) - 1
    }

    pub(in crate::queue) fn part(&mut self, part: &Part) {
        let mut flags = 0;
        for (flag, is_set) in [
            (LAST, part.last),
            (CUT, part.cut),
            (ENDS, part.ends.is_some()),
        ] {
            flags |= if is_set { flag } else { 0 };
        }
        self.written.put_u8(ENTRY_PART);
        self.written.put_u8(flags);
        self.gtid(&part.gtid);
        if let Some(ends) = &part.ends {
            self.gtid(ends);
        }
        self.written.put_u64_le(part.commit_time_us);
        self.written.put_u32_le(part.part);
        let file = self.file(&part.after.file);
        self.written.put_u16_le(file);
        self.written.put_u64_le(part.after.offset);
        self.written.put_u32_le(part.events.len() as u32);
        self.written.put_slice(&part.events);
        self.entries += 1;
    }

    pub(in crate::queue) fn prepared(&mut self, gtid: &Gtid) {
        self.written.put_u8(ENTRY_PREPARED);
        self.gtid(gtid);
        self.entries += 1;
    }

    fn gtid(&mut self, gtid: &Gtid) {
        // Mostly one, so the search is short.
        let known = self
            .origins
            .iter()
            .rposition(|origin| *origin == gtid.origin);
        let index = known.unwrap_or_else(|| {
            self.list_bytes += 17 + gtid.origin.tag.len();
            self.origins.push(gtid.origin.clone());
            self.origins.len() - 1
        });
        self.written.put_u16_le(index as u16);
        self.written.put_u64_le(gtid.number);
    }

    fn file(&mut self, file: &str) -> u16 {
        let known = self.files.iter().rposition(|known| known == file);
        let index = known.unwrap_or_else(|| {
            self.list_bytes += 2 + file.len();
            self.files.push(file.to_owned());
            self.files.len() - 1
        });
        index as u16
    }

    /// The body; the writer is empty again.
    pub(in crate::queue) fn finish(&mut self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.body_bytes());
        body.put_u16_le(self.origins.len() as u16);
        for origin in self.origins.drain(..) {
            body.put_slice(origin.uuid.as_bytes());
            body.put_u8(origin.tag.len() as u8);
            body.put_slice(origin.tag.as_bytes());
        }
        body.put_u16_le(self.files.len() as u16);
        for file in self.files.drain(..) {
            body.put_u16_le(file.len() as u16);
            body.put_slice(file.as_bytes());
        }
        body.put_u32_le(self.entries);
        body.put_slice(&self.written);
        self.written.clear();
        self.entries = 0;
        self.list_bytes = 0;
        body
    }
}

/// Reads the entries of a body; `ord` is the header's.
pub(super) fn decode(mut body: Bytes, ord: u64) -> Result<Vec<Entry>, WireError> {
    let reader = &mut body;
    let mut origins = Vec::new();
    for _ in 0..u16(reader, "its origins")? {
        origins.push(origin(reader)?);
    }
    let mut files = Vec::new();
    for _ in 0..u16(reader, "its files")? {
        let length = u16(reader, "its files")?;
        files.push(file_name(&take(reader, length.into(), "its files")?)?);
    }
    let count = u32(reader, "its entries")? as usize;
    if count == 0 || count > reader.len() / ENTRY_BYTES_MIN {
        return Err(WireError::Value {
            what: "number of entries",
            value: count as u64,
        });
    }
    let mut entries = Vec::with_capacity(count);
    let mut ord = ord;
    for _ in 0..count {
        let entry = match u8(reader)? {
            ENTRY_PART => {
                let part = part(reader, &origins, &files, ord)?;
                if part.last {
                    ord = ord.saturating_add(1);
                }
                Entry::Part(part)
            }
            ENTRY_PREPARED => Entry::Prepared(gtid(reader, &origins)?),
            kind => {
                return Err(WireError::Value {
                    what: "kind of entry",
                    value: kind.into(),
                });
            }
        };
        entries.push(entry);
    }
    if reader.has_remaining() {
        return Err(WireError::Length {
            what: "bytes behind its entries",
            found: reader.len(),
            expected: 0,
        });
    }
    Ok(entries)
}

fn part(
    reader: &mut Bytes,
    origins: &[GtidOrigin],
    files: &[String],
    ord: u64,
) -> Result<Part, WireError> {
    let flags = u8(reader)?;
    if flags & !(LAST | CUT | ENDS) != 0 || flags & (LAST | CUT) == LAST | CUT {
        return Err(WireError::Value {
            what: "part's flags",
            value: flags.into(),
        });
    }
    let of = gtid(reader, origins)?;
    let ends = if flags & ENDS != 0 {
        Some(gtid(reader, origins)?)
    } else {
        None
    };
    let commit_time_us = u64(reader, "a commit's time")?;
    let part = u32(reader, "a part's number")?;
    let file = u16(reader, "a position")?;
    let file = files.get(usize::from(file)).ok_or(WireError::Value {
        what: "index of a file",
        value: file.into(),
    })?;
    let offset = u64(reader, "a position")?;
    let length = u32(reader, "its events")?;
    Ok(Part {
        gtid: of,
        ord,
        commit_time_us,
        part,
        last: flags & LAST != 0,
        cut: flags & CUT != 0,
        ends,
        after: BinlogPosition {
            file: file.clone(),
            offset,
        },
        events: take(reader, length as usize, "its events")?,
    })
}

fn gtid(reader: &mut Bytes, origins: &[GtidOrigin]) -> Result<Gtid, WireError> {
    let index = u16(reader, "a GTID")?;
    let origin = origins.get(usize::from(index)).ok_or(WireError::Value {
        what: "index of an origin",
        value: index.into(),
    })?;
    let number = u64(reader, "a GTID")?;
    Gtid::new(origin.clone(), number).map_err(|_| WireError::Value {
        what: "number of a transaction",
        value: number,
    })
}

fn origin(reader: &mut Bytes) -> Result<GtidOrigin, WireError> {
    let mut uuid = [0; 16];
    reader
        .try_copy_to_slice(&mut uuid)
        .map_err(|_| WireError::Truncated {
            what: "its origins",
        })?;
    let length = u8(reader)?;
    let wrong = WireError::Value {
        what: "tag, bytes",
        value: length.into(),
    };
    let bytes = take(reader, length.into(), "its origins")?;
    let Ok(tag) = std::str::from_utf8(&bytes) else {
        return Err(wrong);
    };
    match GtidOrigin::new(Uuid::from_bytes(uuid), tag) {
        // One spelling for each.
        Ok(origin) if origin.tag == tag => Ok(origin),
        _ => Err(wrong),
    }
}

fn take(reader: &mut Bytes, length: usize, what: &'static str) -> Result<Bytes, WireError> {
    if length > reader.len() {
        return Err(WireError::Truncated { what });
    }
    Ok(reader.split_to(length))
}

fn u8(reader: &mut Bytes) -> Result<u8, WireError> {
    reader.try_get_u8().map_err(|_| WireError::Truncated {
        what: "its entries",
    })
}

fn u16(reader: &mut Bytes, what: &'static str) -> Result<u16, WireError> {
    reader
        .try_get_u16_le()
        .map_err(|_| WireError::Truncated { what })
}

fn u32(reader: &mut Bytes, what: &'static str) -> Result<u32, WireError> {
    reader
        .try_get_u32_le()
        .map_err(|_| WireError::Truncated { what })
}

fn u64(reader: &mut Bytes, what: &'static str) -> Result<u64, WireError> {
    reader
        .try_get_u64_le()
        .map_err(|_| WireError::Truncated { what })
}
