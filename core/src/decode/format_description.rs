//! `FORMAT_DESCRIPTION_EVENT`: which server wrote what follows, and in which format.

use super::checksum;
use super::reader::Reader;
use super::{DecodeError, EventHeader};

/// How the events of a file are protected (`enum_binlog_checksum_alg`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumAlgorithm {
    /// `binlog_checksum=NONE`, or a server before MySQL 5.6.1.
    Off,
    /// A CRC32 behind every event.
    Crc32,
}

/// The event (`Format_description_event` in `control_events.cpp`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatDescription {
    /// Version of the server, such as `9.7.4-log`; MariaDB's contains `MariaDB`.
    pub server_version: String,
    /// When the server started, in seconds since 1970, if the file is its first one; else 0.
    pub created: u32,
    /// Length of the fixed part of the body, by event type from 1.
    pub post_header_lengths: Vec<u8>,
    /// Of the events that follow. This event itself has a CRC32 whenever its server knows
    /// checksums at all, also if the algorithm is `Off`.
    pub checksum: ChecksumAlgorithm,
}

const WHAT: &str = "format description event";
const SERVER_VERSION_LEN: usize = 50;

impl FormatDescription {
    /// Reads a whole event, header included, as it comes from a file or a server. Its own checksum
    /// is checked.
    ///
    /// # Errors
    /// Cut short, a binlog version other than 4, an unknown checksum algorithm, a wrong checksum.
    pub fn parse(event: &[u8]) -> Result<FormatDescription, DecodeError> {
        let (_, body) = EventHeader::parse(event)?;
        let mut r = Reader::new(WHAT, body);
        let binlog_version = r.u16()?;
        if binlog_version != 4 {
            return Err(r.malformed(format_args!(
                "binlog version {binlog_version}; version 4 (MySQL 5.0 and later) is read"
            )));
        }
        let version = r.bytes(SERVER_VERSION_LEN)?;
        let version = version.split(|byte| *byte == 0).next().unwrap_or_default();
        let server_version = String::from_utf8_lossy(version).into_owned();
        let created = r.u32()?;
        let header_length = r.u8()?;
        if usize::from(header_length) != EventHeader::LEN {
            return Err(r.malformed(format_args!("event header of {header_length} bytes")));
        }
        let rest = r.rest();
        if !knows_checksums(&server_version) {
            let post_header_lengths = rest.to_vec();
            return Ok(FormatDescription {
                server_version,
                created,
                post_header_lengths,
                checksum: ChecksumAlgorithm::Off,
            });
        }
        // One byte of algorithm and the checksum are behind the array of lengths.
        let Some((lengths, [algorithm, ..])) = rest.split_last_chunk::<{ 1 + checksum::LEN }>()
        else {
            return Err(r.malformed("no room for a checksum"));
        };
        let checksum = match algorithm {
            0 => ChecksumAlgorithm::Off,
            1 => ChecksumAlgorithm::Crc32,
            other => {
                return Err(r.malformed(format_args!("checksum algorithm {other} is not known")));
            }
        };
        if checksum == ChecksumAlgorithm::Crc32 {
            checksum::verify(event)?;
        }
        Ok(FormatDescription {
            server_version,
            created,
            post_header_lengths: lengths.to_vec(),
            checksum,
        })
    }
}

/// Whether the server is MySQL 5.6.1 or later, or MariaDB 5.3 or later
/// (`checksum_version_product` in `binlog_event.h`).
fn knows_checksums(server_version: &str) -> bool {
    let mut numbers = server_version
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse::<u32>().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    let version = (next(), next(), next());
    let first = if server_version.contains("MariaDB") {
        (5, 3, 0)
    } else {
        (5, 6, 1)
    };
    version >= first
}
