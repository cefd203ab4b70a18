//! What every snapshot driver must do, as tests that a driver's crate instantiates.
