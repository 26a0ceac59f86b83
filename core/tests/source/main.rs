//! The source against a real MySQL: login, dump, positions, and what happens when things break.

mod support;
mod login;
mod events;
mod faults;
mod beginnings;
mod scripted;
