//! End-to-end tests: the real binary, real containers, a real registry, and other people's tools as readers.
//!
//! `dev/test` starts the registry with the base images and says where in the environment.

mod harness;

mod build;
mod build_errors;
mod build_language;
mod crash;
mod images;
mod interop;
mod main_job;
mod network;
mod platforms;
mod run;
mod run_isolation;
mod run_lifecycle;
mod store;
