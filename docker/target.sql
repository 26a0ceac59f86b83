-- Who may do what at the target. The password is the demonstration's: see demo.env.
SET SESSION sql_log_bin = 0;

-- Rows; tables, as the source's DDL changes them in the session of its author; and the place in schema towpath.
-- TRIGGER lets `towpath check` see that no trigger fires on replicated rows.
CREATE USER towpath@'%' IDENTIFIED BY 'demo-target';
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, TRIGGER ON bank.* TO towpath@'%';
GRANT SELECT, INSERT, UPDATE, CREATE ON towpath.* TO towpath@'%';
GRANT SESSION_VARIABLES_ADMIN ON *.* TO towpath@'%';
