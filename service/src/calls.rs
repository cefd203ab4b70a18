//! What is said of a Dockerfile without building it, in the forms that `docker build --call` has for people and scripts.

pub mod checks;
mod json;
pub mod outline;
pub mod source;

pub use json::{outline_json, targets_json};
