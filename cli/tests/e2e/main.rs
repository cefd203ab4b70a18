//! End-to-end tests: the real binary, real containers, a real registry, and other people's tools as readers.
//!
//! `dev/test` starts the registry with the base images and says where in the environment.

mod harness;

mod attestations;
mod build;
mod build_contexts;
mod build_copy;
mod build_epoch;
mod build_errors;
mod build_explain;
mod build_language;
mod build_remote;
mod build_run;
mod build_run_cache;
mod build_run_secrets;
mod build_safety;
mod build_verify;
mod buildkit_clients;
mod buildkitd;
mod buildx;
mod checks;
mod conformance;
mod cp;
mod crash;
mod daemon;
mod deploy;
mod fmt;
mod health;
mod images;
mod interop;
mod lsp;
mod main_job;
mod mistakes;
mod network;
mod output;
mod platforms;
mod progress;
mod rebase;
mod rootless;
mod run;
mod run_isolation;
mod run_lifecycle;
mod screen;
mod serve;
mod serve_attacked;
mod serve_containers;
mod serve_images;
mod serve_observed;
mod serve_sdks;
mod serve_signals;
mod store;
mod system_install;
