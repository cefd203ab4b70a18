//! Which version of the API a request wants, and what every answer says of ours.

use std::fmt;
use std::str::FromStr;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header};

use super::Failure;

/// A version such as `1.51`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ApiVersion {
    major: u16,
    minor: u16,
}

impl ApiVersion {
    /// Version 1.`minor`.
    pub(crate) const fn one(minor: u16) -> ApiVersion {
        ApiVersion { major: 1, minor }
    }
}

/// The newest version that is answered, and that of requests without one.
pub(crate) const NEWEST: ApiVersion = ApiVersion::one(51);
/// The oldest version that is answered.
pub(crate) const OLDEST: ApiVersion = ApiVersion::one(40);

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for ApiVersion {
    type Err = ();

    fn from_str(text: &str) -> Result<ApiVersion, ()> {
        let number = |text: &str| text.parse::<u16>().map_err(drop);
        let (major, minor) = text.split_once('.').ok_or(())?;
        Ok(ApiVersion { major: number(major)?, minor: number(minor)? })
    }
}

/// Takes `/v1.NN` off the request's path and puts the version among its extensions. A version that is not spoken is refused
/// in Docker's words; what is no version is left to the routes, which do not know it.
pub(crate) fn strip(request: &mut Request<Body>) -> Result<(), Failure> {
    let path = request.uri().path();
    let found = path.strip_prefix("/v").and_then(|rest| {
        let (version, _) = rest.split_once('/')?;
        Some((version.parse::<ApiVersion>().ok()?, version.len() + "/v".len()))
    });
    let Some((version, length)) = found else {
        request.extensions_mut().insert(NEWEST);
        return Ok(());
    };
    if version > NEWEST {
        return Err(Failure::bad_request(format!(
            "client version {version} is too new. Maximum supported API version is {NEWEST}"
        )));
    }
    if version < OLDEST {
        return Err(Failure::bad_request(format!(
            "client version {version} is too old. Minimum supported API version is {OLDEST}, please upgrade your client to a newer version"
        )));
    }
    let rest = request.uri().path_and_query().map_or("/", |whole| &whole.as_str()[length..]);
    let uri =
        rest.parse::<Uri>().map_err(|_| Failure::bad_request("the path of the request is malformed"))?;
    *request.uri_mut() = uri;
    request.extensions_mut().insert(version);
    Ok(())
}

/// What clients read before they speak: <https://docs.docker.com/reference/api/engine/>.
pub(crate) fn put_headers(headers: &mut HeaderMap) {
    const SAID: [(HeaderName, HeaderValue); 4] = [
        (HeaderName::from_static("api-version"), HeaderValue::from_static("1.51")),
        (HeaderName::from_static("docker-experimental"), HeaderValue::from_static("false")),
        (HeaderName::from_static("ostype"), HeaderValue::from_static("linux")),
        (header::SERVER, HeaderValue::from_static(concat!("kiln/", env!("CARGO_PKG_VERSION"), " (linux)"))),
    ];
    headers.extend(SAID);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(path: &str) -> Result<(String, ApiVersion), String> {
        let mut request = Request::builder().uri(path).body(Body::empty()).unwrap();
        strip(&mut request).map_err(|failure| failure.message)?;
        let version = *request.extensions().get::<ApiVersion>().unwrap();
        Ok((request.uri().to_string(), version))
    }

    #[test]
    fn versions_are_taken_off_the_path() {
        assert_eq!(
            stripped("/v1.47/images/json?all=1"),
            Ok(("/images/json?all=1".into(), ApiVersion::one(47)))
        );
        assert_eq!(stripped("/_ping"), Ok(("/_ping".into(), NEWEST)));
        for other in ["/v1", "/volumes", "/v1.x/info", "/vv1.40/info"] {
            assert_eq!(stripped(other), Ok((other.to_owned(), NEWEST)));
        }
    }

    #[test]
    fn versions_that_are_not_spoken_are_refused_in_dockers_words() {
        assert_eq!(
            stripped("/v1.52/info").unwrap_err(),
            "client version 1.52 is too new. Maximum supported API version is 1.51"
        );
        assert!(stripped("/v2.0/info").unwrap_err().contains("too new"));
        assert_eq!(
            stripped("/v1.39/info").unwrap_err(),
            "client version 1.39 is too old. Minimum supported API version is 1.40, please upgrade your client to a newer version"
        );
    }

    #[test]
    fn the_header_says_the_newest_version() {
        let mut headers = HeaderMap::new();
        put_headers(&mut headers);
        assert_eq!(headers["api-version"], NEWEST.to_string());
    }
}
