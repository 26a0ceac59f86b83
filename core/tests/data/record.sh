#!/bin/sh
# Records types.binlog and types.expected from a real MySQL server (9.7): runs types.sql on a fresh
# server and takes its second binlog file and the text that the server itself prints.
# Usage: record.sh SOCKET   (of a server with gtid_mode=ON and binlog_row_metadata=FULL; its
# binlogs are reset)
set -eu
cd "$(dirname "$0")"
mysql="mysql --no-defaults -uroot -S $1 --default-character-set=utf8mb4"
$mysql -e 'DROP DATABASE IF EXISTS types; RESET BINARY LOGS AND GTIDS; CREATE DATABASE before_it; DROP DATABASE before_it'
file=$($mysql -N -e 'FLUSH BINARY LOGS; SHOW BINARY LOG STATUS' | cut -f1)
$mysql < types.sql
$mysql -N -e 'FLUSH BINARY LOGS'
cp "$($mysql -N -e 'SELECT @@datadir')/$file" types.binlog
$mysql -N < expected.sql > types.expected
