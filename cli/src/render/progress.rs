//! Progress of builds and transfers.
