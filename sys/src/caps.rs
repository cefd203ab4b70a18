//! Capabilities: names, numbers and sets.
