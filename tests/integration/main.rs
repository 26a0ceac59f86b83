//! Tests of the program as a whole, against real servers.

mod check;
