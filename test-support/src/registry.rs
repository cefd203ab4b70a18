//! A registry in this process, on loopback, that fails on demand.
