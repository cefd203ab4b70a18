//! Runs a process in a container over the mounts it is given.
#![forbid(unsafe_code)]

pub mod cgroup;
pub mod network;
