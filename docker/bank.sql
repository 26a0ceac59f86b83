-- The demonstration's tables and rows, the same on the source and on the target: nothing has to be copied.
-- Not in the binlog, so that the pipeline begins with the first transfer (start = "earliest").
SET SESSION sql_log_bin = 0;

CREATE DATABASE bank;
USE bank;

CREATE TABLE checking (id INT PRIMARY KEY, cents BIGINT NOT NULL);
CREATE TABLE savings LIKE checking;
CREATE TABLE business LIKE checking;

-- Each transfer, in the transaction that makes it: every balance is 100000 cents, and what this says.
CREATE TABLE transfer (
  id BIGINT AUTO_INCREMENT PRIMARY KEY,
  from_table ENUM('checking', 'savings', 'business') NOT NULL,
  from_id INT NOT NULL,
  to_table ENUM('checking', 'savings', 'business') NOT NULL,
  to_id INT NOT NULL,
  cents BIGINT NOT NULL,
  made TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)
);

INSERT INTO checking
  WITH RECURSIVE n AS (SELECT 1 AS id UNION ALL SELECT id + 1 FROM n WHERE id < 100) SELECT id, 100000 FROM n;
INSERT INTO savings SELECT * FROM checking;
INSERT INTO business SELECT * FROM checking;

CREATE USER reader@'%' IDENTIFIED BY 'demo-reader';
GRANT SELECT ON bank.* TO reader@'%';
