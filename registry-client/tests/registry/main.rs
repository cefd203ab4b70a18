//! The client against a registry that does what the test wants.

mod auth;
mod common;
mod faults;
mod growing;
mod push;
mod referrers;
