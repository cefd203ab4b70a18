//! What an error of the engine is called in HTTP and in gRPC: one table.

use kiln_engine::ErrorKind;

/// The HTTP status and the gRPC code of a kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireStatus {
    /// The HTTP status, as the Docker Engine API uses it.
    pub http: u16,
    /// The number of the gRPC code.
    pub grpc: u32,
}

/// How a kind of failure is told to a client.
pub fn status(kind: ErrorKind) -> WireStatus {
    let (http, grpc) = match kind {
        ErrorKind::InvalidInput => (400, 3),
        ErrorKind::CommandNotFound | ErrorKind::CommandNotExecutable => (400, 9),
        ErrorKind::Unauthorized => (401, 16),
        ErrorKind::Forbidden => (403, 7),
        ErrorKind::NotFound => (404, 5),
        ErrorKind::Conflict => (409, 6),
        ErrorKind::Cancelled => (499, 1),
        // What a build's own step did has no code: clients show its text as it is.
        ErrorKind::Build => (500, 2),
        ErrorKind::Internal => (500, 13),
        ErrorKind::NotImplemented => (501, 12),
        ErrorKind::Unavailable => (503, 14),
    };
    WireStatus { http, grpc }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_an_error_on_both_wires() {
        for kind in ErrorKind::ALL {
            let WireStatus { http, grpc } = status(kind);
            assert!((400..600).contains(&http), "{kind:?} is HTTP {http}");
            assert!((1..=16).contains(&grpc), "{kind:?} is gRPC {grpc}");
        }
    }

    #[test]
    fn the_kinds_that_clients_act_on_have_their_own_status() {
        let http = |kind| status(kind).http;
        assert_eq!(http(ErrorKind::NotFound), 404); // docker run pulls on this one
        assert_eq!(http(ErrorKind::Conflict), 409);
        assert_eq!(http(ErrorKind::Unauthorized), 401); // docker asks for a login
        assert_eq!(status(ErrorKind::Cancelled).grpc, 1);
        assert_eq!(status(ErrorKind::NotFound).grpc, 5);
        assert_eq!(status(ErrorKind::NotImplemented).grpc, 12);
    }
}
