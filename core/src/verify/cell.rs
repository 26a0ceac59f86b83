//! How the cells of a row become text that is the same on both servers exactly if the values are.
//! Pure.
//!
//! A server's own comparison is no help: to a collation `a`, `A` and `a ` may be one value,
//! CHECKSUM TABLE takes a JSON DECIMAL for a DOUBLE, and a FLOAT prints shorter than it is. So each
//! server writes its cells as bytes:
//!
//! | type | what is compared |
//! |---|---|
//! | integers, YEAR, DECIMAL | the number; a DECIMAL with the digits of the larger scale |
//! | FLOAT, DOUBLE | the double that it is, in digits that lead back to it |
//! | BIT, ENUM, SET | the number behind it |
//! | dates and times | the text, in UTC, with the fraction's digits of the longer one |
//! | text | the bytes; where the character sets differ, those of utf8mb4 |
//! | bytes, GEOMETRY, VECTOR | the bytes as stored: a GEOMETRY's begin with its SRID |
//! | JSON | its text and the type of each member in it |
//!
//! Every piece says by itself where it ends (a terminator that can't be in it, a length before it,
//! or a hash of fixed length), and NULL is a piece of its own: so rows are the same if their
//! pieces' concatenations are.
//!
//! Columns that a server computes aren't compared.

use crate::apply::target::{TargetColumn, TargetTable, quote_name};

/// A string column whose values can't be longer than this, in bytes, goes into the row's text as it
/// is; a longer one as its hash, so that a row's text stays far below any `max_allowed_packet`.
const PLAIN_BYTES_MAX: u64 = 512;

/// The scale of the most precise DECIMAL is 30, and no DECIMAL has more than 65 digits.
const DECIMAL_DIGITS_MAX: u32 = 65;

/// The name of the table in every statement here.
pub(super) const ALIAS: &str = "t";

/// A column that both servers have, and what each of them computes of its cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    /// The column's name at the source.
    pub(super) name: String,
    /// The piece, at the source.
    pub(super) at_source: String,
    /// The piece, at the sink.
    pub(super) at_sink: String,
}

/// A column whose values can't be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Incomparable {
    /// The column's name at the source.
    pub(super) name: String,
    /// Why.
    pub(super) why: String,
}

/// The cells that are compared of two tables, in the source's order, and the columns that can't be.
pub(super) fn cells(source: &TargetTable, sink: &TargetTable) -> (Vec<Cell>, Vec<Incomparable>) {
    let (mut cells, mut others) = (Vec::new(), Vec::new());
    for column in &source.columns {
        let other = sink
            .columns
            .iter()
            .find(|other| other.name.eq_ignore_ascii_case(&column.name));
        let cannot = |why: String| Incomparable {
            name: column.name.clone(),
            why,
        };
        match other {
            // What isn't carried, and what another server computes, says nothing about the copy.
            _ if column.generated => {}
            None => others.push(cannot("the sink has no such column".to_owned())),
            Some(other) => match pieces(column, other) {
                Some((at_source, at_sink)) => cells.push(Cell {
                    name: column.name.clone(),
                    at_source,
                    at_sink,
                }),
                None => others.push(cannot(format!(
                    "{} and {} have no common form",
                    column.column_type, other.column_type
                ))),
            },
        }
    }
    (cells, others)
}

/// What a row's cells come to: 64 hexadecimal digits.
pub(super) fn row_hash<'a>(pieces: impl Iterator<Item = &'a str>) -> String {
    let pieces: Vec<&str> = pieces.collect();
    format!("SHA2(CONCAT({}), 256)", pieces.join(", "))
}

/// What kind of value a column holds, as far as comparing goes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Integer,
    Numbered,
    Decimal {
        scale: u32,
    },
    Floating,
    Date,
    /// `TIME`, `DATETIME` or `TIMESTAMP`, with the digits of its fraction.
    Moment {
        fraction: u32,
    },
    Text {
        charset: String,
    },
    Bytes,
    Json,
}

fn kind(column: &TargetColumn) -> Option<Kind> {
    let arguments = || {
        let (_, rest) = column.column_type.split_once('(')?;
        rest.split_once(')').map(|(arguments, _)| arguments)
    };
    Some(match column.data_type.as_str() {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "year" => Kind::Integer,
        "bit" | "enum" | "set" => Kind::Numbered,
        "decimal" => Kind::Decimal {
            scale: arguments()
                .and_then(|arguments| arguments.split_once(','))
                .map_or(Some(0), |(_, scale)| scale.trim().parse().ok())?,
        },
        "float" | "double" => Kind::Floating,
        "date" => Kind::Date,
        "time" | "datetime" | "timestamp" => Kind::Moment {
            fraction: match arguments() {
                Some(fraction) => fraction.trim().parse().ok()?,
                None => 0,
            },
        },
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => Kind::Text {
            charset: column.charset.clone()?,
        },
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" | "geometry"
        | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
        | "multipolygon" | "geomcollection" | "geometrycollection" | "vector" => Kind::Bytes,
        "json" => Kind::Json,
        _ => return None,
    })
}

/// The pieces of a column's cells at the source and at the sink; None if the types have nothing in
/// common.
fn pieces(source: &TargetColumn, sink: &TargetColumn) -> Option<(String, String)> {
    let each = |piece: &dyn Fn(&str) -> String| {
        let of = |column: &TargetColumn| piece(&format!("{ALIAS}.{}", quote_name(&column.name)));
        (of(source), of(sink))
    };
    Some(match (kind(source)?, kind(sink)?) {
        (Kind::Integer, Kind::Integer) => each(&|column| terminated(&format!("{column} + 0"))),
        (Kind::Numbered, Kind::Numbered) => {
            each(&|column| terminated(&format!("CAST({column} AS UNSIGNED)")))
        }
        (Kind::Decimal { scale }, Kind::Decimal { scale: other }) => {
            let scale = scale.max(other);
            each(&|column| {
                terminated(&format!(
                    "CAST({column} AS DECIMAL({DECIMAL_DIGITS_MAX}, {scale}))"
                ))
            })
        }
        // A FLOAT's own text has six digits; a product is a DOUBLE, with all of them.
        (Kind::Floating, Kind::Floating) => each(&|column| terminated(&format!("{column} * 1e0"))),
        (Kind::Date, Kind::Date) => each(&|column| terminated(&format!("CAST({column} AS CHAR)"))),
        (Kind::Moment { fraction: here }, Kind::Moment { fraction: there }) => {
            let piece = |column: &TargetColumn, own: u32| {
                let column = format!("{ALIAS}.{}", quote_name(&column.name));
                let zeros = "0".repeat(here.max(there).saturating_sub(own) as usize);
                let period = if own == 0 && !zeros.is_empty() {
                    "."
                } else {
                    ""
                };
                terminated(&format!("CAST({column} AS CHAR), '{period}{zeros}'"))
            };
            (piece(source, here), piece(sink, there))
        }
        (Kind::Text { charset: here }, Kind::Text { charset: there }) => {
            let same = without_alias(&here) == without_alias(&there);
            let plain = is_short(source) && is_short(sink);
            each(&|column| {
                let text = if same {
                    column.to_owned()
                } else {
                    format!("CONVERT({column} USING utf8mb4)")
                };
                bytes(&text, plain)
            })
        }
        (Kind::Bytes, Kind::Bytes) => {
            let plain = is_short(source) && is_short(sink);
            each(&|column| bytes(column, plain))
        }
        (Kind::Json, Kind::Json) => each(&|column| json(column)),
        _ => return None,
    })
}

/// Until 8.0.28 servers call utf8mb3 utf8.
fn without_alias(charset: &str) -> &str {
    if charset == "utf8" {
        "utf8mb3"
    } else {
        charset
    }
}

fn is_short(column: &TargetColumn) -> bool {
    let is_stored_inside = matches!(
        column.data_type.as_str(),
        "char" | "varchar" | "binary" | "varbinary"
    );
    is_stored_inside
        && column
            .bytes_max
            .is_some_and(|bytes| bytes <= PLAIN_BYTES_MAX)
}

/// A value whose text isn't empty and has no comma in it.
fn terminated(value: &str) -> String {
    format!("IFNULL(CONCAT({value}, ','), ',')")
}

/// A value of any bytes.
fn bytes(value: &str, plain: bool) -> String {
    if plain {
        format!("IFNULL(CONCAT(LENGTH({value}), ':', CAST({value} AS BINARY)), 'N')")
    } else {
        format!("IFNULL(SHA2({value}, 256), 'N')")
    }
}

/// A document: its text, and the types of all that is in it, in the order in which the server finds
/// them.
fn json(column: &str) -> String {
    // To JSON_TABLE, the document null is NULL, which would have no type.
    let types = format!(
        "(SELECT GROUP_CONCAT(IFNULL(JSON_TYPE(m.v), 'NULL') ORDER BY m.n) FROM \
         JSON_TABLE(JSON_EXTRACT({column}, '$', '$**.*', '$**[*]'), \
         '$[*]' COLUMNS (n FOR ORDINALITY, v JSON PATH '$')) AS m)"
    );
    format!("IFNULL(CONCAT(SHA2(CAST({column} AS CHAR), 256), SHA2({types}, 256)), 'N')")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(
        name: &str,
        column_type: &str,
        charset: Option<&str>,
        bytes_max: u64,
    ) -> TargetColumn {
        let letters = column_type.chars().take_while(char::is_ascii_lowercase);
        TargetColumn {
            name: name.to_owned(),
            data_type: letters.collect(),
            column_type: column_type.to_owned(),
            charset: charset.map(str::to_owned),
            collation: None,
            bytes_max: Some(bytes_max),
            nullable: true,
            default: None,
            generated: false,
            stamped: false,
        }
    }

    fn of(
        source: (&str, Option<&str>, u64),
        sink: (&str, Option<&str>, u64),
    ) -> Option<(String, String)> {
        pieces(
            &column("c", source.0, source.1, source.2),
            &column("C", sink.0, sink.1, sink.2),
        )
    }

    #[test]
    fn types_that_differ_in_size_have_a_common_form() {
        let (source, sink) = of(("decimal(10,2)", None, 0), ("decimal(14,4)", None, 0)).unwrap();
        assert_eq!(
            source,
            "IFNULL(CONCAT(CAST(t.`c` AS DECIMAL(65, 4)), ','), ',')"
        );
        assert_eq!(sink, source.replace("`c`", "`C`"));
        let (source, sink) = of(("datetime", None, 0), ("datetime(3)", None, 0)).unwrap();
        assert!(source.contains("CAST(t.`c` AS CHAR), '.000'"), "{source}");
        assert!(sink.contains("CAST(t.`C` AS CHAR), ''"), "{sink}");
        let (source, _) = of(("time(2)", None, 0), ("time(3)", None, 0)).unwrap();
        assert!(source.contains(", '0', ','"), "{source}");
        assert!(of(("int", None, 0), ("bigint unsigned", None, 0)).is_some());
    }

    #[test]
    fn texts_are_compared_as_bytes_and_converted_only_where_character_sets_differ() {
        let (source, _) = of(
            ("varchar(9)", Some("utf8"), 27),
            ("varchar(9)", Some("utf8mb3"), 27),
        )
        .unwrap();
        assert_eq!(
            source,
            "IFNULL(CONCAT(LENGTH(t.`c`), ':', CAST(t.`c` AS BINARY)), 'N')"
        );
        let (source, sink) = of(
            ("varchar(9)", Some("latin1"), 9),
            ("text", Some("gbk"), 65535),
        )
        .unwrap();
        assert_eq!(
            source,
            "IFNULL(SHA2(CONVERT(t.`c` USING utf8mb4), 256), 'N')"
        );
        assert!(sink.contains("CONVERT(t.`C` USING utf8mb4)"), "{sink}");
    }

    #[test]
    fn what_has_no_common_form_is_told_and_computed_columns_are_left_out() {
        for (source, sink) in [
            ("int", "decimal(10,0)"),
            ("json", "longblob"),
            ("date", "datetime"),
            ("inet6", "inet6"),
        ] {
            assert_eq!(
                of((source, None, 0), (sink, None, 0)),
                None,
                "{source} {sink}"
            );
        }
        let table = |columns: Vec<TargetColumn>| TargetTable {
            database: "d".to_owned(),
            table: "t".to_owned(),
            columns,
            key: vec![0],
            key_index: "PRIMARY".to_owned(),
            unique: Vec::new(),
            unique_indexes: Vec::new(),
            foreign_keys: false,
        };
        let mut computed = column("sum", "int", None, 0);
        computed.generated = true;
        let source = table(vec![
            column("id", "int", None, 0),
            column("gone", "int", None, 0),
            column("other", "json", None, 0),
            computed,
        ]);
        let sink = table(vec![
            column("ID", "int", None, 0),
            column("other", "blob", None, 9),
        ]);
        let (cells, others) = cells(&source, &sink);
        assert_eq!(cells.len(), 1);
        let told: Vec<&str> = others.iter().map(|other| other.name.as_str()).collect();
        assert_eq!(told, ["gone", "other"]);
    }
}
