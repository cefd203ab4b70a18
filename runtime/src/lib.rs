//! Runs a process in a container over the mounts it is given.
//!
//! [`start`] takes a [`RunSpec`], computes in the parent everything that the container's first
//! process has to do ([`plan`]), and launches it. Of images, layers and registries this crate
//! knows nothing.
#![forbid(unsafe_code)]

pub mod cgroup;
pub mod error;
pub mod exec;
pub mod executor;
pub mod init;
pub mod launch;
pub mod network;
pub mod plan;
pub mod prepare;
pub mod profile;
pub mod run_spec;
pub mod spec;

pub use error::{Error, ErrorKind, Result};
pub use exec::{ContainerState, exec, kill_session};
pub use executor::{BoxFuture, Cancel, Executor, LinuxExecutor};
pub use launch::{ExitStatus, Running, Stdio, WindowSize, start};
pub use run_spec::{
    DeviceKind, DeviceNode, EtcFiles, MountKind, NetworkSetup, Process, Propagation, Rlimit, RunSpec,
    Security, Tree, UserMount,
};
