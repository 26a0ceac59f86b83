//! Sessions: which exist is replicated ([`table`]), which are alive only the leader knows
//! ([`lease`]).

pub mod table;
pub mod lease;
