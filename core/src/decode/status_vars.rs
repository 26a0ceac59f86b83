//! Status variables of a query event: the settings that a statement ran under, and that it has to
//! run under again to mean the same.

use super::DecodeError;
use super::reader::Reader;

/// Collation ids of the session (`Q_CHARSET_CODE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charset {
    /// `character_set_client`, as a collation id.
    pub client: u16,
    /// `collation_connection`.
    pub connection: u16,
    /// `collation_server`.
    pub server: u16,
}

/// All variables that MySQL 5.6 to 9.7 write (`enum Query_event_status_vars` in
/// `statement_events.h`). `None`: the event does not have it, so the setting had its default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusVars {
    /// `OPTION_*` bits: AUTO_IS_NULL 1<<14, NO_FOREIGN_KEY_CHECKS 1<<26, RELAXED_UNIQUE_CHECKS
    /// 1<<27, NOT_AUTOCOMMIT 1<<19.
    pub flags2: Option<u32>,
    /// `sql_mode`.
    pub sql_mode: Option<u64>,
    /// `auto_increment_increment` and `auto_increment_offset`.
    pub auto_increment: Option<(u16, u16)>,
    /// Character sets of the session.
    pub charset: Option<Charset>,
    /// `time_zone`; absent where the statement does not depend on it.
    pub time_zone: Option<String>,
    /// `lc_time_names`, as a number of a locale.
    pub lc_time_names: Option<u16>,
    /// `collation_database`.
    pub charset_database: Option<u16>,
    /// Bitmap of the tables that a multi-table update changed.
    pub table_map_for_update: Option<u64>,
    /// User and host of the definer, for `CURRENT_USER`.
    pub invoker: Option<(String, String)>,
    /// Databases that the statement touches; `None` also where they are too many to be listed.
    pub updated_databases: Option<Vec<String>>,
    /// Microseconds of the statement's time.
    pub microseconds: Option<u32>,
    /// `explicit_defaults_for_timestamp`.
    pub explicit_defaults_for_timestamp: Option<bool>,
    /// Number of the DDL's transaction (atomic DDL).
    pub ddl_xid: Option<u64>,
    /// `default_collation_for_utf8mb4`.
    pub default_collation_for_utf8mb4: Option<u16>,
    /// `sql_require_primary_key`.
    pub sql_require_primary_key: Option<u8>,
    /// `default_table_encryption`.
    pub default_table_encryption: Option<u8>,
    /// `enable_cascade_triggers` (MySQL 9.7).
    pub enable_cascade_triggers: Option<bool>,
}

/// `OVER_MAX_DBS_IN_EVENT_MTS`: more databases than the event lists.
const DATABASES_NOT_LISTED: u8 = 254;

impl StatusVars {
    /// Reads the bytes of [`super::QueryEvent::status`].
    ///
    /// # Errors
    /// Cut short, or with a code that is not known.
    pub fn parse(status: &[u8]) -> Result<StatusVars, DecodeError> {
        let mut vars = StatusVars::default();
        let mut r = Reader::new("status variables of a query event", status);
        while !r.is_empty() {
            let offset = r.offset();
            match r.u8()? {
                0 => vars.flags2 = Some(r.u32()?),
                1 => vars.sql_mode = Some(r.u64()?),
                // Catalogs are always `std`; the code 2 ends with a zero byte, 6 does not.
                2 => {
                    short_text(&mut r)?;
                    r.u8()?;
                }
                3 => vars.auto_increment = Some((r.u16()?, r.u16()?)),
                4 => {
                    vars.charset = Some(Charset {
                        client: r.u16()?,
                        connection: r.u16()?,
                        server: r.u16()?,
                    });
                }
                5 => vars.time_zone = Some(short_text(&mut r)?),
                6 => {
                    short_text(&mut r)?;
                }
                7 => vars.lc_time_names = Some(r.u16()?),
                8 => vars.charset_database = Some(r.u16()?),
                9 => vars.table_map_for_update = Some(r.u64()?),
                // Size of the event on the original source (MySQL 5.5 and earlier).
                10 => {
                    r.u32()?;
                }
                11 => vars.invoker = Some((short_text(&mut r)?, short_text(&mut r)?)),
                12 => vars.updated_databases = databases(&mut r)?,
                13 => vars.microseconds = Some(r.uint(3)? as u32),
                16 => vars.explicit_defaults_for_timestamp = Some(r.u8()? != 0),
                17 => vars.ddl_xid = Some(r.u64()?),
                18 => vars.default_collation_for_utf8mb4 = Some(r.u16()?),
                19 => vars.sql_require_primary_key = Some(r.u8()?),
                20 => vars.default_table_encryption = Some(r.u8()?),
                // Not in the public sources yet; `mysqlbinlog` 9.7 prints it as
                // `SET @@session.enable_cascade_triggers`.
                21 => vars.enable_cascade_triggers = Some(r.u8()? != 0),
                code => return Err(DecodeError::UnknownStatusVariable { code, offset }),
            }
        }
        Ok(vars)
    }
}

/// Text behind one byte of length.
fn short_text(r: &mut Reader<'_>) -> Result<String, DecodeError> {
    let len = r.u8()?;
    Ok(String::from_utf8_lossy(r.bytes(usize::from(len))?).into_owned())
}

fn databases(r: &mut Reader<'_>) -> Result<Option<Vec<String>>, DecodeError> {
    let count = r.u8()?;
    if count == DATABASES_NOT_LISTED {
        return Ok(None);
    }
    let mut names = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let Some(len) = memchr::memchr(0, r.rest()) else {
            return Err(r.malformed("a database's name does not end"));
        };
        names.push(String::from_utf8_lossy(r.bytes(len)?).into_owned());
        r.u8()?;
    }
    Ok(Some(names))
}
