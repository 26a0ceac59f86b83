-- One table per family of types, filled with the values that decoders get wrong.
SET sql_mode = '', time_zone = '+00:00';
CREATE DATABASE types CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci;
USE types;

CREATE TABLE ints (
  id INT PRIMARY KEY, y YEAR, t TINYINT, tu TINYINT UNSIGNED, s SMALLINT, su SMALLINT UNSIGNED,
  m MEDIUMINT, mu MEDIUMINT UNSIGNED, i INT, iu INT UNSIGNED, b BIGINT, bu BIGINT UNSIGNED,
  z INT(5) ZEROFILL, bo BOOL);
INSERT INTO ints VALUES
  (1, 2155, -128, 255, -32768, 65535, -8388608, 16777215, -2147483648, 4294967295,
   -9223372036854775808, 18446744073709551615, 7, TRUE),
  (2, 1901, 127, 128, 32767, 32768, 8388607, 8388608, 2147483647, 2147483648,
   9223372036854775807, 9223372036854775808, 0, FALSE),
  (-3, 0, -3, 3, -3, 3, -3, 3, -3, 3, -3, 3, 3, 3),
  (4, 1999, -1, 0, -1, 0, -1, 0, -1, 0, -1, 0, 99999, -1),
  (5, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);

CREATE TABLE numbers (
  id INT PRIMARY KEY, d1 DECIMAL(65,30), d2 DECIMAL(10,2), d3 DECIMAL(5,5), d4 DECIMAL(65,0),
  d5 DECIMAL(18,9) UNSIGNED, d6 DECIMAL(1,0), d7 DECIMAL(30,30), d8 DECIMAL(20,1),
  f FLOAT, d DOUBLE, fu FLOAT UNSIGNED, b1 BIT(1), b8 BIT(8), b13 BIT(13), b64 BIT(64));
INSERT INTO numbers VALUES
  (1, 99999999999999999999999999999999999.999999999999999999999999999999, 99999999.99, 0.99999,
   99999999999999999999999999999999999999999999999999999999999999999, 999999999.999999999, 9,
   0.999999999999999999999999999999, 1234567890123456789.1, 3.4028235e38, 1.7976931348623157e308,
   0.1, b'1', b'10000001', b'1000000000001', 18446744073709551615),
  (2, -99999999999999999999999999999999999.999999999999999999999999999999, -99999999.99, -0.99999,
   -99999999999999999999999999999999999999999999999999999999999999999, 0, -9,
   -0.999999999999999999999999999999, -1234567890123456789.1, -3.4028235e38,
   -1.7976931348623157e308, 16777216, b'0', b'0', b'0', 0),
  (3, 0, 0, 0, 0, 0.000000001, 0, 0, 0.0, 0, 0, 0, 1, 2, 3, 4),
  (4, -0.000000000000000000000000000001, -0.01, -0.00001, -1, 1, -1,
   -0.000000000000000000000000000001, -0.1, -1.5, -5e-324, 1e-45, NULL, NULL, NULL, NULL),
  (5, 1000000000, 1000.5, 0.00010, 1000000000, 1000000000.1, 1, 0.1, 100, 1.17549435e-38, 0.1, 1,
   1, 255, 8191, 1),
  (6, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);

CREATE TABLE temporals (
  id INT PRIMARY KEY, d DATE, t0 TIME, t1 TIME(1), t2 TIME(2), t3 TIME(3), t4 TIME(4), t5 TIME(5),
  t6 TIME(6), dt0 DATETIME, dt1 DATETIME(1), dt2 DATETIME(2), dt3 DATETIME(3), dt4 DATETIME(4),
  dt5 DATETIME(5), dt6 DATETIME(6), ts0 TIMESTAMP NULL, ts1 TIMESTAMP(1) NULL,
  ts2 TIMESTAMP(2) NULL, ts3 TIMESTAMP(3) NULL, ts4 TIMESTAMP(4) NULL, ts5 TIMESTAMP(5) NULL,
  ts6 TIMESTAMP(6) NULL);
INSERT INTO temporals VALUES
  (1, '9999-12-31', '838:59:59', '838:59:58.9', '838:59:58.99', '838:59:58.999', '838:59:58.9999',
   '838:59:58.99999', '838:59:58.999999', '9999-12-31 23:59:59', '9999-12-31 23:59:59.9',
   '9999-12-31 23:59:59.99', '9999-12-31 23:59:59.999', '9999-12-31 23:59:59.9999',
   '9999-12-31 23:59:59.99999', '9999-12-31 23:59:59.999999', '2038-01-19 03:14:07',
   '2038-01-19 03:14:07.9', '2038-01-19 03:14:07.99', '2038-01-19 03:14:07.999',
   '2038-01-19 03:14:07.9999', '2038-01-19 03:14:07.99999', '2038-01-19 03:14:07.999999'),
  (2, '0000-00-00', '-838:59:59', '-838:59:58.9', '-838:59:58.99', '-838:59:58.999',
   '-838:59:58.9999', '-838:59:58.99999', '-838:59:58.999999', 0, 0, 0, 0, 0, 0, 0,
   0, 0, 0, 0, 0, 0, 0),
  (3, '2024-00-00', '-00:00:00', '-00:00:00.1', '-00:00:00.01', '-00:00:00.001', '-00:00:00.0001',
   '-00:00:00.00001', '-00:00:00.000001', '2024-00-00', '2024-02-00', '2024-00-01', '0000-01-01',
   '2024-02-29 12:34:56.7891', '1000-01-01', '0001-01-01 00:00:00.000001', '1970-01-01 00:00:01',
   '1970-01-01 00:00:01.1', '1970-01-01 00:00:01.01', '1970-01-01 00:00:01.001',
   '1970-01-01 00:00:01.0001', '1970-01-01 00:00:01.00001', '1970-01-01 00:00:01.000001'),
  (4, '2024-02-29', '00:00:00', '-10:11:12.5', '-10:11:12.05', '-10:11:12.005', '-10:11:12.0005',
   '-10:11:12.00005', '-10:11:12.000005', '2024-02-29 23:59:59', '2000-02-29', '1900-02-28',
   '2100-03-01', '1969-12-31 23:59:59', '1970-01-01', '2024-12-31 00:00:00.5',
   '2000-02-29 12:00:00', '2000-03-01', '2024-02-29 23:59:59.5', '2024-12-31 23:59:59.123',
   '2001-01-01', '1999-12-31 23:59:59', '2023-03-01 00:00:00.000100'),
  (5, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
   NULL, NULL, NULL, NULL, NULL, NULL, NULL);

CREATE TABLE strings (
  id INT PRIMARY KEY, c3 CHAR(3), c63 CHAR(63), c64 CHAR(64), c255 CHAR(255),
  l255 CHAR(255) CHARACTER SET latin1, v63 VARCHAR(63), v64 VARCHAR(64), v300 VARCHAR(300),
  tt TINYTEXT, t TEXT, mt MEDIUMTEXT, lt LONGTEXT, a VARCHAR(10) CHARACTER SET ascii,
  l VARCHAR(10) CHARACTER SET latin1, u16 VARCHAR(10) CHARACTER SET utf16,
  g VARCHAR(10) CHARACTER SET gbk, u3 VARCHAR(10) CHARACTER SET utf8mb3);
INSERT INTO strings VALUES
  (1, 'abc', REPEAT('é', 63), REPEAT('😀', 64), REPEAT('x', 255), REPEAT('y', 255),
   REPEAT('ü', 63), REPEAT('v', 64), REPEAT('w', 300), 'tiny', 'text', 'medium', 'long', 'ascii',
   'äöü€', 'ünï😀', '中文', '日本'),
  (2, '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', ''),
  (3, ' a ', 'tab\there', 'line\nend', 'back\\slash', 'nul\0byte', '"quoted"', '\Z\b\r', '\'',
   'e\u0301', '</script>', '\f', REPEAT('z', 70000), '~', 'ÿ', ' ', 'a', ' '),
  (4, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
   NULL, NULL);

CREATE TABLE bytes (
  id INT PRIMARY KEY, b5 BINARY(5), b255 BINARY(255), vb10 VARBINARY(10), vb300 VARBINARY(300),
  tb TINYBLOB, b BLOB, mb MEDIUMBLOB, lb LONGBLOB, v VECTOR(3), g GEOMETRY, p POINT SRID 4326);
INSERT INTO bytes VALUES
  (1, x'0001020300', x'FF', x'00FF', REPEAT(x'80', 300), x'00', x'0D0A', x'1A', x'27',
   TO_VECTOR('[1.5,-2,3e10]'), ST_GeomFromText('LINESTRING(0 0,1 2)'),
   ST_GeomFromText('POINT(1 2)', 4326)),
  (2, '', '', '', '', '', '', '', '', NULL, NULL, NULL),
  (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, TO_VECTOR('[0]'),
   ST_GeomFromText('POINT(-1 1)'), NULL);

SET group_concat_max_len = 10000;
SET @labels = (WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
               SELECT GROUP_CONCAT(QUOTE(CONCAT('label', i)) ORDER BY i) FROM n);
SET @bits = (WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 64)
             SELECT GROUP_CONCAT(QUOTE(CONCAT('b', i)) ORDER BY i) FROM n);
SET @create = CONCAT('CREATE TABLE labels (id INT PRIMARY KEY, e1 ENUM(''a'',''it''''s'',''ü''),
  e2 ENUM(', @labels, '), s1 SET(''x'',''y'',''z''), s8 SET(', @bits, '),
  el ENUM(''ä'',''ö'') CHARACTER SET latin1, s2 SET(''1'',''2'',''3'',''4'',''5'',''6'',''7'',''8'',''9''))');
PREPARE s FROM @create;
EXECUTE s;
INSERT INTO labels VALUES
  (1, 'a', 'label1', 'x', 'b1', 'ä', '9'),
  (2, 'it''s', 'label300', 'x,y,z', 'b1,b64', 'ö', '1,9'),
  (3, 'ü', 'label256', '', '', NULL, ''),
  (4, 'not a label', 'label255', NULL, 'b63', 'ä', '8'),
  (5, NULL, NULL, NULL, NULL, NULL, NULL);

CREATE TABLE docs (id INT PRIMARY KEY, j JSON);
INSERT INTO docs VALUES
  (1, 'null'), (2, 'true'), (3, 'false'), (4, '0'), (5, '-1'), (6, '32767'), (7, '-32768'),
  (8, '32768'), (9, '65535'), (10, '65536'), (11, '-32769'), (12, '2147483647'),
  (13, '-2147483648'), (14, '2147483648'), (15, '4294967295'), (16, '4294967296'),
  (17, '9223372036854775807'), (18, '-9223372036854775808'), (19, '18446744073709551615'),
  (20, '1.5'), (21, '1e300'), (22, '-0.0'), (23, '1e-20'), (24, '""'), (25, '"a\\"b\\\\c\\n\\u0001"'),
  (26, '[]'), (27, '{}'), (28, '{"a": 1, "b": [true, null, false]}'),
  (29, '{"bb": 1, "a": {"nested": [[[]]], "": ""}, "ü😀": "é"}'),
  (30, '[1, -1, 65535, 70000, -70000, 5000000000, 1.25, "x", null]'),
  (31, JSON_ARRAY(CAST('2024-02-29' AS DATE), CAST('-10:11:12.000001' AS TIME(6)),
       TIMESTAMP'2024-02-29 01:02:03.5', 1.50, -0.000001, 12345678901234567890.123456789)),
  (32, JSON_ARRAY(x'00FF', b'101', CAST(REPEAT('x', 100) AS BINARY))),
  (33, JSON_OBJECT('s', REPEAT('a', 127), 't', REPEAT('b', 128), 'u', REPEAT('c', 20000))),
  (34, JSON_OBJECT('big', REPEAT('d', 70000), 'i', 100000, 'n', -100000, 'u', 4000000000,
       'a', JSON_ARRAY(1, 100000, 'x'))),
  (35, CONCAT('[', REPEAT('[', 98), REPEAT(']', 98), ']')),
  (36, NULL);

CREATE TABLE keyed (
  a VARCHAR(20) NOT NULL, b INT UNSIGNED NOT NULL, c TEXT NOT NULL, hidden INT INVISIBLE,
  v INT GENERATED ALWAYS AS (b + 1) VIRTUAL, n INT, PRIMARY KEY (c(10), b, a));
INSERT INTO keyed (a, b, c, n) VALUES ('k1', 4294967295, 'text key', 1), ('k2', 2, 'second', NULL);
UPDATE keyed SET n = 2, hidden = 5 WHERE b = 2;
DELETE FROM keyed WHERE b = 4294967295;
SET SESSION binlog_row_image = MINIMAL;
UPDATE keyed SET n = 3 WHERE b = 2;
DELETE FROM keyed;
SET SESSION binlog_row_image = FULL;

-- Statements whose settings must come along, a tagged GTID, a statement's text, an XA transaction.
SET time_zone = 'SYSTEM', lc_time_names = 'de_DE', auto_increment_increment = 7,
    auto_increment_offset = 3, sql_require_primary_key = 1,
    default_collation_for_utf8mb4 = utf8mb4_general_ci, character_set_client = latin1,
    foreign_key_checks = 0, unique_checks = 0;
CREATE TABLE settings (id INT PRIMARY KEY AUTO_INCREMENT, t TIMESTAMP(6) DEFAULT NOW(6));
SET character_set_client = utf8mb4;
CREATE DEFINER = root@localhost VIEW definer AS SELECT 1;
SET SESSION binlog_rows_query_log_events = 1;
INSERT INTO settings () VALUES ();
SET gtid_next = 'AUTOMATIC:towpath_1';
INSERT INTO settings () VALUES ();
SET gtid_next = 'AUTOMATIC';
XA START 'x1'; INSERT INTO settings () VALUES (); XA END 'x1'; XA PREPARE 'x1'; XA COMMIT 'x1';
SET SESSION binlog_format = STATEMENT;
SET @r = 0.5, timestamp = 1700000000.123456;
INSERT INTO settings (t) VALUES (NOW(6) + INTERVAL @r + RAND() SECOND);
SET SESSION binlog_format = ROW;

SET GLOBAL binlog_row_metadata = MINIMAL;
CREATE TABLE minimal (id INT UNSIGNED PRIMARY KEY, c CHAR(3) CHARACTER SET latin1, b BLOB, e ENUM('a'));
INSERT INTO minimal VALUES (4294967295, 'ä', x'00', 'a');
SET GLOBAL binlog_row_metadata = FULL;
