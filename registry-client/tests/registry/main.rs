//! The client against a registry that does what the test wants.

mod auth;
mod common;
mod faults;
mod push;
mod referrers;
