//! The types and their values: one line per type, as SQL text for the source.

/// How a type's values are compared, as text that no client conversion can change.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum As {
    /// The server's text.
    Text,
    /// Bytes.
    Hex,
    /// The double that it is exactly.
    Double,
    /// The number behind bits, and behind the labels of an ENUM or SET.
    Number,
    /// Text, and the type of every member.
    Json,
}

use As::{Double, Hex, Json, Number, Text};

/// A column's type, how it is compared, and values. NULL is tried with each.
pub(super) const TYPES: &[(&str, As, &[&str])] = &[
    ("TINYINT", Text, &["-128", "127", "0", "-1"]),
    ("TINYINT UNSIGNED", Text, &["0", "255", "128"]),
    ("BOOL", Text, &["TRUE", "FALSE"]),
    ("SMALLINT", Text, &["-32768", "32767", "-1"]),
    ("SMALLINT UNSIGNED", Text, &["0", "65535"]),
    ("MEDIUMINT", Text, &["-8388608", "8388607", "-3", "-1", "0"]),
    ("MEDIUMINT UNSIGNED", Text, &["0", "16777215", "8388608"]),
    ("INT", Text, &["-2147483648", "2147483647", "-1", "0"]),
    ("INT UNSIGNED ZEROFILL", Text, &["0", "4294967295", "7"]),
    (
        "BIGINT",
        Text,
        &["-9223372036854775808", "9223372036854775807", "-1"],
    ),
    (
        "BIGINT UNSIGNED",
        Text,
        &["0", "18446744073709551615", "9223372036854775808"],
    ),
    (
        "DECIMAL(65,30)",
        Text,
        &[
            "99999999999999999999999999999999999.999999999999999999999999999999",
            "-99999999999999999999999999999999999.999999999999999999999999999999",
            "0.000000000000000000000000000001",
            "-0.1",
            "0",
        ],
    ),
    (
        "DECIMAL(65,0)",
        Text,
        &[
            "99999999999999999999999999999999999999999999999999999999999999999",
            "-99999999999999999999999999999999999999999999999999999999999999999",
            "-1",
        ],
    ),
    (
        "DECIMAL(30,30)",
        Text,
        &[
            "0.999999999999999999999999999999",
            "-0.000000000000000000000000000001",
        ],
    ),
    ("DECIMAL(1,0)", Text, &["9", "-9", "0"]),
    (
        "DECIMAL(10,2) UNSIGNED",
        Text,
        &["99999999.99", "0.01", "0"],
    ),
    (
        "FLOAT",
        Double,
        &[
            "0.1",
            "-0.0e0",
            "1.4e-45",
            "1.17549435e-38",
            "3.402823466e38",
            "-3.402823466e38",
            "16777217",
            "0",
        ],
    ),
    ("FLOAT(7,3)", Double, &["1234.567", "-0.001", "9999.999"]),
    ("FLOAT UNSIGNED", Double, &["0.1", "3.4e38"]),
    (
        "DOUBLE",
        Double,
        &[
            "0.1",
            "-0.0e0",
            "4.9406564584124654e-324",
            "2.2250738585072014e-308",
            "1.7976931348623157e308",
            "-1.7976931348623157e308",
            "123456789012345678",
            "0.30000000000000004",
            "1e15",
            "1e16",
        ],
    ),
    (
        "DOUBLE(20,5) UNSIGNED",
        Double,
        &["123456789.12345", "0.00001"],
    ),
    ("BIT(1)", Number, &["b'0'", "b'1'"]),
    ("BIT(5)", Number, &["b'11111'", "b'0'"]),
    ("BIT(8)", Number, &["255", "0"]),
    ("BIT(9)", Number, &["b'100000001'", "b'1'"]),
    ("BIT(63)", Number, &["9223372036854775807", "1"]),
    (
        "BIT(64)",
        Number,
        &["18446744073709551615", "0", "9223372036854775808", "92"],
    ),
    ("YEAR", Text, &["0", "1901", "2155", "1970"]),
    (
        "DATE",
        Text,
        &[
            "'0000-00-00'",
            "'0001-01-01'",
            "'1000-01-01'",
            "'9999-12-31'",
            "'2024-00-00'",
            "'2024-02-00'",
            "'2024-00-15'",
            "'2024-02-31'",
            "'2024-02-29'",
        ],
    ),
    (
        "TIME",
        Text,
        &[
            "'838:59:59'",
            "'-838:59:59'",
            "'00:00:00'",
            "'-00:00:01'",
            "'25:00:00'",
        ],
    ),
    (
        "TIME(1)",
        Text,
        &["'-00:00:00.1'", "'838:59:59.0'", "'12:00:00.9'"],
    ),
    (
        "TIME(3)",
        Text,
        &["'-00:00:00.001'", "'-838:59:58.999'", "'12:34:56.789'"],
    ),
    (
        "TIME(6)",
        Text,
        &[
            "'-00:00:00.000001'",
            "'-838:59:58.999999'",
            "'838:59:58.999999'",
            "'-12:34:56.789012'",
            "'0:0:0'",
        ],
    ),
    (
        "DATETIME",
        Text,
        &[
            "'0000-00-00'",
            "'1000-01-01 00:00:00'",
            "'9999-12-31 23:59:59'",
            "'2024-00-00 01:02:03'",
            "'2024-02-31 23:59:59'",
            "'2024-03-31 02:30:00'",
        ],
    ),
    ("DATETIME(1)", Text, &["'2024-01-01 00:00:00.9'"]),
    ("DATETIME(2)", Text, &["'2024-01-01 00:00:00.99'"]),
    ("DATETIME(3)", Text, &["'2024-01-01 00:00:00.999'"]),
    ("DATETIME(4)", Text, &["'2024-01-01 00:00:00.9999'"]),
    ("DATETIME(5)", Text, &["'2024-01-01 00:00:00.99999'"]),
    (
        "DATETIME(6)",
        Text,
        &[
            "'2024-01-01 00:00:00.999999'",
            "'0000-00-00 00:00:00.000001'",
            "'9999-12-31 23:59:59.999999'",
        ],
    ),
    // The session is at +03:00; the edges of Europe's summer time, and of the type.
    (
        "TIMESTAMP",
        Text,
        &[
            "'0000-00-00'",
            "'1970-01-01 03:00:01'",
            "'2038-01-19 06:14:07'",
            "'2024-03-31 03:59:59'",
            "'2024-03-31 04:00:00'",
            "'2024-10-27 03:30:00'",
            "'2024-10-27 04:30:00'",
        ],
    ),
    ("TIMESTAMP(1)", Text, &["'2024-01-01 00:00:00.1'"]),
    ("TIMESTAMP(2)", Text, &["'2024-01-01 00:00:00.01'"]),
    ("TIMESTAMP(3)", Text, &["'2024-01-01 00:00:00.001'"]),
    ("TIMESTAMP(4)", Text, &["'2024-01-01 00:00:00.0001'"]),
    ("TIMESTAMP(5)", Text, &["'2024-01-01 00:00:00.00001'"]),
    (
        "TIMESTAMP(6)",
        Text,
        &[
            "'2024-01-01 00:00:00.000001'",
            "'2038-01-19 06:14:07.999999'",
            "'0000-00-00'",
        ],
    ),
    (
        "CHAR(20) CHARACTER SET utf8mb4",
        Hex,
        &[
            "''",
            "'😀é''\\\\\"`'",
            "'  x  '",
            "CONCAT('a', CHAR(0), 'b')",
        ],
    ),
    (
        "CHAR(255) CHARACTER SET utf8mb4",
        Hex,
        &["''", "REPEAT('😀', 255)"],
    ),
    (
        "CHAR(10) CHARACTER SET binary",
        Hex,
        &["''", "X'00'", "X'FF5C2700'", "'abcdefghij'"],
    ),
    (
        "VARCHAR(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci",
        Hex,
        &["''", "'😀é''\\\\\"'", "'x '", "'%_\\\\%'", "'\\n\\r\\Z\\0'"],
    ),
    (
        "VARCHAR(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        Hex,
        &["'A'", "'a'", "'ä '"],
    ),
    (
        "VARCHAR(16000) CHARACTER SET utf8mb4",
        Hex,
        &["REPEAT('é', 16000)", "'short'"],
    ),
    (
        "VARCHAR(50) CHARACTER SET utf8mb3",
        Hex,
        &["'é\\\\'", "'ሴ'''"],
    ),
    (
        "VARCHAR(300) CHARACTER SET latin1",
        Hex,
        &["'é€''\\\\'", "X'8081828D8F909D9FFF00'"],
    ),
    (
        "VARCHAR(50) CHARACTER SET cp1251",
        Hex,
        &["'Привет'''", "X'98FF5C'"],
    ),
    (
        "VARCHAR(50) CHARACTER SET sjis",
        Hex,
        &["'ソ表'", "X'835C955C27'", "'ｱ\\\\'"],
    ),
    (
        "VARCHAR(50) CHARACTER SET cp932",
        Hex,
        &["'ソ表①'", "X'835C815C'"],
    ),
    (
        "VARCHAR(50) CHARACTER SET gbk",
        Hex,
        &["'縗''\\\\'", "X'815CBF5C27'"],
    ),
    (
        "VARCHAR(50) CHARACTER SET gb18030",
        Hex,
        &["'縗😀'''", "X'815C8130813090308130'"],
    ),
    (
        "VARCHAR(50) CHARACTER SET ucs2",
        Hex,
        &["'é''\\\\'", "X'005C00270000FFFD'"],
    ),
    (
        "VARCHAR(50) CHARACTER SET utf16",
        Hex,
        &["'é''\\\\😀'", "X'D83DDE00005C'"],
    ),
    ("VARCHAR(50) CHARACTER SET utf16le", Hex, &["'é''\\\\😀'"]),
    (
        "VARCHAR(50) CHARACTER SET utf32",
        Hex,
        &["'é''\\\\😀'", "X'0001F6000000005C'"],
    ),
    (
        "VARCHAR(50) CHARACTER SET big5",
        Hex,
        &["'功'''", "X'A55C5C'"],
    ),
    (
        "VARCHAR(50) CHARACTER SET ujis",
        Hex,
        &["'表''\\\\'", "X'8EB1B0A1'"],
    ),
    ("VARCHAR(50) CHARACTER SET euckr", Hex, &["'한''\\\\'"]),
    ("VARCHAR(50) CHARACTER SET tis620", Hex, &["'ก''\\\\'"]),
    (
        "VARBINARY(300)",
        Hex,
        &["''", "X'00'", "X'00FF5C270A1A00'", "REPEAT(X'00', 300)"],
    ),
    (
        "BINARY(4)",
        Hex,
        &["''", "X'00'", "X'FF000000'", "X'00000001'", "'ab  '"],
    ),
    (
        "BINARY(255)",
        Hex,
        &[
            "''",
            "REPEAT(X'FF', 255)",
            "CONCAT(X'01', REPEAT(X'00', 254))",
        ],
    ),
    ("TINYTEXT", Hex, &["''", "REPEAT('a', 255)", "'é'''"]),
    (
        "TEXT CHARACTER SET sjis",
        Hex,
        &["'ソ'''", "REPEAT(_sjis X'835C', 20000)"],
    ),
    ("TEXT", Hex, &["''", "REPEAT('\\\\''\\0', 20000)"]),
    ("MEDIUMTEXT", Hex, &["''", "REPEAT('é', 40000)"]),
    (
        "LONGTEXT CHARACTER SET utf16",
        Hex,
        &["''", "REPEAT('😀', 40000)"],
    ),
    (
        "MEDIUMTEXT CHARACTER SET gbk",
        Hex,
        &["''", "REPEAT(_gbk X'815C', 20000)"],
    ),
    (
        "MEDIUMTEXT CHARACTER SET latin1",
        Hex,
        &["''", "REPEAT(_latin1 X'E95C2700', 10000)"],
    ),
    (
        "VARBINARY(40000)",
        Hex,
        &["''", "REPEAT(X'815C2700', 10000)"],
    ),
    ("TINYBLOB", Hex, &["''", "REPEAT(X'00', 255)"]),
    ("BLOB", Hex, &["''", "REPEAT(X'5C2700', 20000)", "X'00'"]),
    ("MEDIUMBLOB", Hex, &["''", "REPEAT(X'FF00', 70000)"]),
    ("LONGBLOB", Hex, &["''", "REPEAT(X'0027', 600000)", "X'5C'"]),
    (
        "ENUM('x','2','1','it''s','é')",
        Number,
        &["'x'", "'1'", "'2'", "'it''s'", "'é'", "'no such label'"],
    ),
    (
        "ENUM('a','ソ') CHARACTER SET sjis",
        Number,
        &["'a'", "'ソ'"],
    ),
    (
        "SET('a','b','1','é')",
        Number,
        &["''", "'a,é'", "'1'", "15"],
    ),
    (
        "GEOMETRY",
        Hex,
        &[
            "ST_GeomFromText('POINT(1 2)')",
            "ST_GeomFromText('POINT(1 2)', 4326)",
            "ST_GeomFromText('LINESTRING(0 0, 1 1)', 3857)",
            "ST_GeomFromText('GEOMETRYCOLLECTION EMPTY')",
        ],
    ),
    (
        "GEOMETRY SRID 4326",
        Hex,
        &["ST_GeomFromText('POINT(52.5 13.4)', 4326)"],
    ),
    (
        "POINT SRID 0",
        Hex,
        &["POINT(-0.0e0, 1e300)", "POINT(5.57, 39.2)"],
    ),
    (
        "POINT SRID 4326",
        Hex,
        &["ST_GeomFromText('POINT(90 180)', 4326)"],
    ),
    (
        "LINESTRING",
        Hex,
        &["ST_GeomFromText('LINESTRING(0 0, 1 1, 2 0)', 4326)"],
    ),
    (
        "POLYGON",
        Hex,
        &["ST_GeomFromText('POLYGON((0 0, 9 0, 9 9, 0 0), (5 2, 6 3, 7 3, 5 2))')"],
    ),
    (
        "MULTIPOINT",
        Hex,
        &["ST_GeomFromText('MULTIPOINT(0 0, 1 1)', 4326)"],
    ),
    (
        "MULTILINESTRING",
        Hex,
        &["ST_GeomFromText('MULTILINESTRING((0 0, 1 1), (2 2, 3 3))')"],
    ),
    (
        "MULTIPOLYGON",
        Hex,
        &["ST_GeomFromText('MULTIPOLYGON(((0 0, 1 0, 1 1, 0 0)))', 4326)"],
    ),
    (
        "GEOMETRYCOLLECTION",
        Hex,
        &[
            "ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 1), LINESTRING(0 0, 1 1))', 4326)",
            "ST_GeomFromText('GEOMETRYCOLLECTION EMPTY')",
        ],
    ),
    (
        "VECTOR(3)",
        Hex,
        &[
            "TO_VECTOR('[1,-0.5,3e38]')",
            "TO_VECTOR('[1e-30]')",
            "X'00000000'",
        ],
    ),
    (
        "VECTOR",
        Hex,
        &["TO_VECTOR(CONCAT('[', REPEAT('0.1,', 2047), '1]'))"],
    ),
    (
        "VECTOR(16383)",
        Hex,
        &[
            "TO_VECTOR(CONCAT('[', REPEAT('7,', 16382), '1]'))",
            "TO_VECTOR('[0]')",
        ],
    ),
    (
        "JSON",
        Json,
        &[
            "'null'",
            "'true'",
            "'\"\"'",
            "'{}'",
            "'[]'",
            "'[[], {}, [[]], {\"\": {}}]'",
            "JSON_ARRAY(1, -1, 32768, -32769, 2147483648, 9223372036854775807, -9223372036854775808)",
            "JSON_ARRAY(CAST(0 AS UNSIGNED), CAST(7 AS UNSIGNED), CAST(70000 AS UNSIGNED), CAST(18446744073709551615 AS UNSIGNED))",
            "'[7, 70000, 5000000000, 18446744073709551615]'",
            "'[1.0, -0.0, 1e308, 4.9e-324, 0.1, 1e20, 123456789012345680000]'",
            "JSON_ARRAY(1.0e0, -0.0e0, 1e308, 5e-324)",
            "JSON_ARRAY(1.10, 0.0, -0.5, CAST(1 AS DECIMAL(65,30)), 99999999999999999999999999999999999999999999999999999999999999999)",
            "JSON_OBJECT('t', TRUE, 'f', FALSE, 'n', NULL, 's', 'it''s \\\\ \\\" \\0 😀 \\n', 'd', 1.10)",
            "JSON_OBJECT('t', CAST('true' AS JSON), 'f', CAST('[false, null]' AS JSON), 'd', 0.1)",
            "JSON_ARRAY(DATE'2024-02-29', CAST('0000-00-00' AS DATE), CAST('2024-00-15' AS DATE))",
            "JSON_ARRAY(TIME'-838:59:58.999999', TIME'00:00:00', TIME'-00:00:00.000001', TIME'25:00:00')",
            "JSON_ARRAY(TIMESTAMP'2024-01-01 12:00:00', CAST('0000-00-00' AS DATETIME(6)), TIMESTAMP'9999-12-31 23:59:59.999999')",
            "JSON_ARRAY(X'00FF', _binary'it''s \\\\', X'', REPEAT(X'00', 300))",
            "CAST(1.50 AS JSON)",
            "CAST(DATE'2024-02-29' AS JSON)",
            "CAST(X'00FF' AS JSON)",
            "CAST(1.0e0 AS JSON)",
            "CAST(CAST(5 AS UNSIGNED) AS JSON)",
            "(SELECT JSON_OBJECT('tb', tb, 'b', b, 'mb', mb, 'lb', lb, 'vb', vb, 'bi', bi, 'b12', b12, 'b64', b64, 'yr', yr, 'en', en, 'st', st, \
          'ts', ts, 'ts0', ts0, 'dt', dt, 'd', d, 'tm', tm, 'g', g, 'dec', dec1, 'f', f, 'ch', ch, 'bu', bu) FROM types_inner.kinds)",
            "(SELECT CAST(ts AS JSON) FROM types_inner.kinds)",
            "(SELECT CAST(b12 AS JSON) FROM types_inner.kinds)",
            "(SELECT CAST(b AS JSON) FROM types_inner.kinds)",
            "JSON_OBJECT(REPEAT('k', 60000), 1, 'ключ', 2.5, '', 3, '\\\"', 4, '$', 5)",
            // 99 levels, with a DECIMAL at the bottom.
            "CAST(CONCAT(REPEAT('[', 99), '1', REPEAT(']', 99)) AS JSON)",
            "JSON_SET(CAST(CONCAT(REPEAT('{\\\"a\\\":', 98), '1', REPEAT('}', 98)) AS JSON), CONCAT('$', REPEAT('.a', 98)), 1.10)",
            // Beyond 64 KiB: the large form of objects and arrays.
            "(SELECT JSON_ARRAYAGG(JSON_OBJECT('n', n, 'text', REPEAT('x', 150), 'd', n + 0.5)) FROM types_inner.numbers)",
            "(SELECT JSON_OBJECTAGG(CONCAT('key', n), IF(n % 2, CAST(n AS JSON), CAST(n + 0.25 AS JSON))) FROM types_inner.numbers)",
            "JSON_OBJECT('long', REPEAT('é', 100000), 'd', 1.5)",
            "'{\"a\": [1, {\"b\": [true, null, \"x\"]}], \"c\": 1e2}'",
        ],
    ),
];

/// What some JSON values are made of: columns whose types leave a trace in a document.
pub(super) const INNER: &[&str] = &[
    "CREATE TABLE kinds (id INT PRIMARY KEY, tb TINYBLOB, b BLOB, mb MEDIUMBLOB, lb LONGBLOB, vb VARBINARY(20), bi BINARY(4), \
     b12 BIT(12), b64 BIT(64), yr YEAR, en ENUM('a','b'), st SET('a','b'), ts TIMESTAMP(6) NULL, ts0 TIMESTAMP NULL, dt DATETIME(6), \
     d DATE, tm TIME(6), g GEOMETRY, dec1 DECIMAL(5,2), f FLOAT, ch CHAR(5) CHARACTER SET latin1, bu BIGINT UNSIGNED)",
    "INSERT INTO kinds VALUES (1, X'00', X'00FF', 'mb', '', 'vb', 'bi', 5, 18446744073709551615, 2024, 'b', 'a,b', \
     '2024-07-01 12:00:00.5', '1970-01-01 03:00:01', '2024-07-01 12:00:00.5', '2024-07-01', '-838:59:59', \
     ST_GeomFromText('POINT(1 2)', 4326), 1.50, 0.1, 'é', 5)",
    "CREATE TABLE numbers (n INT PRIMARY KEY)",
    "INSERT INTO numbers WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 450) SELECT n FROM r",
];

/// Tables with more than a type: a definition, an INSERT's values (columns first), and further changes.
pub(super) const SPECIAL: &[(&str, &str, &[&str])] = &[
    (
        "hidden (id INT PRIMARY KEY, a INT INVISIBLE, b VARCHAR(9) DEFAULT 'x' INVISIBLE, n INT)",
        "(id, a, n) VALUES (1, 5, 1), (2, NULL, 1)",
        &[
            "UPDATE hidden SET a = 7 WHERE id = 1",
            "UPDATE hidden SET n = 2",
        ],
    ),
    (
        "virtual_columns (id INT PRIMARY KEY, a INT, twice INT AS (a * 2) VIRTUAL, thrice BIGINT AS (a * 3) STORED, \
         name VARCHAR(20) AS (CONCAT('n', a)) VIRTUAL NOT NULL, UNIQUE (twice), KEY (name))",
        "(id, a) VALUES (1, 10), (2, 20), (3, 30)",
        &[
            "UPDATE virtual_columns SET a = a + 1 WHERE id = 1",
            "BEGIN; UPDATE virtual_columns SET a = 99 WHERE id = 1; UPDATE virtual_columns SET a = 11 WHERE id = 2; \
             UPDATE virtual_columns SET a = 20 WHERE id = 1; COMMIT",
            "DELETE FROM virtual_columns WHERE id = 3",
        ],
    ),
    (
        "generated_key (doc JSON, id INT AS (doc->>'$.id') STORED NOT NULL PRIMARY KEY, n INT)",
        "(doc, n) VALUES ('{\"id\": 1}', 1), ('{\"id\": 2, \"v\": 1.5}', 1)",
        &[
            "UPDATE generated_key SET n = 2",
            "UPDATE generated_key SET doc = '{\"id\": 5}' WHERE id = 1",
            "DELETE FROM generated_key WHERE id = 2",
        ],
    ),
    (
        "generated_in_key (a INT, b INT AS (a % 10) STORED NOT NULL, c INT NOT NULL, v INT, PRIMARY KEY (b, c))",
        "(a, c, v) VALUES (11, 1, 1), (12, 1, 1), (21, 2, 1)",
        &[
            "UPDATE generated_in_key SET v = 2",
            "UPDATE generated_in_key SET a = 13 WHERE c = 2",
            "DELETE FROM generated_in_key WHERE b = 1",
        ],
    ),
    (
        "defaults (id INT PRIMARY KEY, u BINARY(16) DEFAULT (UUID_TO_BIN(UUID())), d DATE DEFAULT (CURRENT_DATE + INTERVAL 1 YEAR), \
         j JSON DEFAULT (JSON_ARRAY(1.10)), g POINT DEFAULT (POINT(1, 2)), t TEXT DEFAULT ('x'), n INT)",
        "(id, n) VALUES (1, 1), (2, 1)",
        &[
            "UPDATE defaults SET n = 2",
            "UPDATE defaults SET u = DEFAULT, t = DEFAULT WHERE id = 1",
        ],
    ),
    (
        "functional (id INT PRIMARY KEY, a VARCHAR(20), b INT, UNIQUE KEY ((LOWER(a))), KEY ((b * 2 + 1)))",
        "VALUES (1, 'One', 1), (2, 'Two', 2), (3, NULL, 3)",
        &[
            "UPDATE functional SET b = b + 1",
            "BEGIN; UPDATE functional SET a = 'tmp' WHERE id = 1; UPDATE functional SET a = 'ONE' WHERE id = 2; \
             UPDATE functional SET a = 'two' WHERE id = 1; COMMIT",
            "DELETE FROM functional WHERE id = 3",
        ],
    ),
    (
        "multi_valued (id INT PRIMARY KEY, j JSON, n INT, UNIQUE KEY ((CAST(j->'$.codes' AS UNSIGNED ARRAY))), \
         KEY ((CAST(j->'$.tags' AS CHAR(20) ARRAY))))",
        "VALUES (1, '{\"codes\": [1, 2], \"tags\": [\"a\", \"b\"]}', 1), (2, '{\"codes\": [3], \"tags\": []}', 1), (3, NULL, 1)",
        &[
            "UPDATE multi_valued SET n = 2",
            "BEGIN; UPDATE multi_valued SET j = '{\"codes\": []}' WHERE id = 1; UPDATE multi_valued SET j = '{\"codes\": [1, 2]}' WHERE id = 2; \
             UPDATE multi_valued SET j = '{\"codes\": [3]}' WHERE id = 1; COMMIT",
            "DELETE FROM multi_valued WHERE id = 3",
        ],
    ),
    (
        "checked (id INT PRIMARY KEY, a INT CHECK (a > 0), b INT, CONSTRAINT sum_is_small CHECK (a + b < 100), c INT CHECK (c < 0) NOT ENFORCED)",
        "VALUES (1, 1, 1, 5), (2, 50, 49, -1)",
        &[
            "UPDATE checked SET b = a - 1",
            "DELETE FROM checked WHERE id = 2",
        ],
    ),
    (
        "many (a SMALLINT, b CHAR(3), c DATE, d DECIMAL(5,2), v JSON, PRIMARY KEY (c, b DESC, a, d))",
        "VALUES (1, 'x', '2024-01-01', -1.5, '1'), (1, 'x', '2024-01-01', 1.5, '[1.10]'), (1, 'y', '0000-00-00', 0, NULL)",
        &[
            "UPDATE many SET v = JSON_ARRAY(a, 2.50)",
            "UPDATE many SET d = d + 1 WHERE d > 0",
            "DELETE FROM many WHERE b = 'y'",
        ],
    ),
    (
        "unique_not_null (a INT NULL UNIQUE, b INT NOT NULL UNIQUE, c VARCHAR(10) NOT NULL, UNIQUE (c(3)))",
        "VALUES (1, 1, 'abc1'), (NULL, 2, 'bcd'), (NULL, 3, '')",
        &[
            "UPDATE unique_not_null SET a = 7 WHERE b = 2",
            "UPDATE unique_not_null SET b = b + 10 ORDER BY b DESC",
            "DELETE FROM unique_not_null WHERE b = 13",
        ],
    ),
    (
        "nearly_equal (f FLOAT, d DOUBLE, j JSON, c CHAR(9), t TEXT, n INT)",
        "VALUES (0, 0, '1', 'a', 'a', 1), (-0.0e0, 0, '1', 'a', 'a', 2), (0, -0.0e0, '1', 'a', 'a', 3), (0, 0, '1.0', 'a', 'a', 4), \
         (0, 0, '1', 'A', 'a', 5), (0, 0, '1', 'a', 'á', 6), (0, 0, '\"1\"', 'a', 'a', 7), (NULL, NULL, NULL, NULL, NULL, 8)",
        &[
            // Now the rows differ in nothing that a comparison would tell.
            "UPDATE nearly_equal SET n = 0",
            "DELETE FROM nearly_equal WHERE CAST(f AS CHAR) = '-0'",
            "DELETE FROM nearly_equal WHERE CAST(d AS CHAR) = '-0'",
            "DELETE FROM nearly_equal WHERE CAST(j AS CHAR) = '1.0'",
            "UPDATE nearly_equal SET n = 9 WHERE BINARY c = 'A'",
            "UPDATE nearly_equal SET n = 9 WHERE BINARY t = 'á'",
        ],
    ),
    (
        "partitioned (id INT, y INT, v VARCHAR(9), PRIMARY KEY (id, y)) PARTITION BY RANGE (y) \
         (PARTITION p0 VALUES LESS THAN (2000), PARTITION p1 VALUES LESS THAN MAXVALUE)",
        "VALUES (1, 1990, 'a'), (2, 2010, 'b')",
        &[
            "UPDATE partitioned SET y = 2020 WHERE id = 1",
            "DELETE FROM partitioned WHERE id = 2",
        ],
    ),
    (
        "collated (k VARCHAR(20) CHARACTER SET latin1 COLLATE latin1_german1_ci, j VARBINARY(9), PRIMARY KEY (k, j)) \
         DEFAULT CHARACTER SET cp1251",
        "VALUES ('ä', X'00'), ('b', ''), ('é''\\\\', X'5C27')",
        &[
            "UPDATE collated SET j = X'FF' WHERE k = 'b'",
            "UPDATE collated SET k = 'Ä' WHERE k = 'ä'",
            "DELETE FROM collated WHERE j = X'5C27'",
        ],
    ),
];
