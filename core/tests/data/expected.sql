-- The same rows as the server prints them: numbers of FLOAT as DOUBLE, BIT as a number, bytes and
-- text that is not utf8mb4 in hexadecimal digits.
SET time_zone = '+00:00';
USE types;
SELECT '== ints'; SELECT id, y+0, t, tu, s, su, m, mu, i, iu, b, bu, z+0, bo FROM ints ORDER BY FIELD(id, 1, 2, -3, 4, 5);
SELECT '== numbers';
SELECT id, d1, d2, d3, d4, d5, d6, d7, d8, CAST(f AS DOUBLE), d, CAST(fu AS DOUBLE), b1+0, b8+0, b13+0, b64+0 FROM numbers ORDER BY id;
SELECT '== temporals'; SELECT * FROM temporals ORDER BY id;
SELECT '== strings';
SELECT id, HEX(c3), HEX(c63), HEX(c64), HEX(c255), HEX(l255), HEX(v63), HEX(v64), HEX(v300), HEX(tt), HEX(t), HEX(mt), HEX(lt), HEX(a), HEX(l), HEX(u16), HEX(g), HEX(u3) FROM strings ORDER BY id;
SELECT '== bytes';
SELECT id, HEX(TRIM(TRAILING x'00' FROM b5)), HEX(TRIM(TRAILING x'00' FROM b255)), HEX(vb10), HEX(vb300), HEX(tb), HEX(b), HEX(mb), HEX(lb), HEX(v), HEX(CAST(g AS BINARY)), HEX(CAST(p AS BINARY)) FROM bytes ORDER BY id;
SELECT '== labels'; SELECT id, e1, e2, s1, s8, el, s2 FROM labels ORDER BY id;
SELECT '== docs'; SELECT id, j FROM docs ORDER BY id;
