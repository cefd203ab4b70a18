//! Launches a container's first process from a plan.
