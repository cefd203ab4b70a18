//! How much one client may ask for.

use std::time::Duration;

/// Connections at one time; who comes then waits at the door.
pub(super) const MAX_CONNECTIONS: usize = 1024;
/// Those of one peer, root and the daemon's own user excepted: one more is closed at once, so that nobody takes all.
pub(super) const MAX_CONNECTIONS_OF_PEER: usize = MAX_CONNECTIONS / 2;
/// Handshakes at one time with one address, of which nobody knows yet who is there.
pub(super) const MAX_HANDSHAKES_OF_ADDRESS: usize = 64;
/// Bytes of a request's line and headers; `X-Registry-Config` has the credentials of many registries.
pub(super) const MAX_HEADER_BYTES: usize = 64 << 10;
/// Headers of a request.
pub(super) const MAX_HEADERS: usize = 100;
/// Requests at one time on an HTTP/2 connection.
pub(super) const MAX_STREAMS: u32 = 256;
/// Requests that were begun and given up by an HTTP/2 client before anybody looked at them (CVE-2023-44487): with one more its
/// connection ends.
pub(super) const MAX_PENDING_RESETS: usize = 20;
/// Requests of an HTTP/2 connection that were given up because they broke a rule, before the connection ends.
pub(super) const MAX_ERROR_RESETS: usize = 256;
/// How long a client may take to send the head of a request, and to be silent between two.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a TLS handshake may take.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often an HTTP/2 client that is silent is asked whether it is there, and how long it may take to say so.
pub(super) const PING: Duration = Duration::from_secs(60);
/// How long requests that run when the daemon is told to stop may take to end.
pub(super) const FAREWELL: Duration = Duration::from_secs(10);
/// How often memory is given back, where there were requests.
pub(super) const TRIM: Duration = Duration::from_secs(10);
/// How long to wait after an `accept` that failed, for example because too many files are open.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often it is looked whether builds still run, when the daemon waits for them to end.
pub(super) const LOOK: Duration = Duration::from_millis(50);
/// How long builds may end before it is looked whether the build cache is too large.
pub(super) const GC_INTERVAL: Duration = Duration::from_secs(60);
/// Connections at one time where only monitoring is answered, and how long one of them lasts.
pub(super) const MAX_MONITORS: usize = 16;
pub(super) const MONITOR_TIMEOUT: Duration = Duration::from_secs(60);
