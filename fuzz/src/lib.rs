//! What the fuzz targets check: whatever bytes come, nothing panics, and what comes out of it is
//! whole. In these programs a panic is the report.

pub mod request;
pub mod answer;
pub mod entry;
pub mod snapshot;
pub mod event;
pub mod whole;
pub mod seeds;

/// Takes the next chunk: a length (two bytes) and so many bytes, or what there is.
pub(crate) fn chunk<'a>(data: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, rest) = data.split_first_chunk::<2>()?;
    let len = usize::from(u16::from_be_bytes(*len)).min(rest.len());
    let (chunk, rest) = rest.split_at(len);
    *data = rest;
    Some(chunk)
}
