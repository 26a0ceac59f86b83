-- Who may do what at the source. The passwords are the demonstration's: see demo.env.
SET SESSION sql_log_bin = 0;

CREATE USER towpath@'%' IDENTIFIED BY 'demo-source';
GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO towpath@'%';
GRANT SELECT ON bank.* TO towpath@'%';

CREATE USER teller@'%' IDENTIFIED BY 'demo-teller';
GRANT SELECT, INSERT, UPDATE ON bank.* TO teller@'%';
