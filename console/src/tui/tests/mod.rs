//! The console against trees that tests make: keys in, screens and effects out. No clock, no
//! terminal, no directory.

mod fixture;
mod keys;
mod screens;
