//! What a request's query says, read as Docker reads it.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;

use super::Failure;
use super::filters::Filters;

/// The pairs of a query, in order; a name may come several times.
#[derive(Clone, Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Params, Failure> {
        match Query::<Vec<(String, String)>>::try_from_uri(&parts.uri) {
            Ok(Query(pairs)) => Ok(Params(pairs)),
            Err(_) => Err(Failure::bad_request("the query of the request is malformed")),
        }
    }
}

impl Params {
    /// The first value of `name` that is not empty.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let of_name = self.0.iter().filter(|(own, _)| own == name);
        of_name.map(|(_, value)| value.as_str()).find(|value| !value.is_empty())
    }

    /// Every value of `name`.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// Whether `name` is on: Docker takes everything for yes but these.
    pub(crate) fn is_on(&self, name: &str) -> bool {
        let value = self.text(name).unwrap_or_default().trim().to_ascii_lowercase();
        !matches!(value.as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// The number that `name` is.
    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Failure> {
        let number = |text: &str| {
            text.parse()
                .map_err(|_| Failure::bad_request(format!("`{name}={text}` is not a number that fits")))
        };
        self.text(name).map(number).transpose()
    }

    /// The JSON value that `name` is; clients of old write `null` where they have nothing to say.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Failure> {
        let value = |text: &str| {
            serde_json::from_str::<Option<T>>(text).map_err(|error| {
                Failure::bad_request(format!("`{name}` is not the JSON that it should be: {error}"))
            })
        };
        Ok(self.text(name).map(value).transpose()?.flatten())
    }

    /// The filters, of which only those in `known` are.
    pub(crate) fn filters(&self, known: &[&str]) -> Result<Filters, Failure> {
        Filters::parse(self.text("filters"), known)
    }
}

#[cfg(test)]
pub(crate) fn params(query: &str) -> Params {
    let uri = format!("/x?{query}").parse().unwrap();
    Params(Query::<Vec<(String, String)>>::try_from_uri(&uri).unwrap().0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_docker_reads_them() {
        let params = params("t=a&t=b:2&q=1&rm=false&forcerm=True&h=24&bad=x&empty=&none=null&list=[7]");
        assert_eq!(params.all("t").collect::<Vec<_>>(), ["a", "b:2"]);
        assert!(params.is_on("q") && params.is_on("forcerm"));
        assert!(!params.is_on("rm") && !params.is_on("absent") && !params.is_on("empty"));
        assert_eq!(params.number::<u16>("h"), Ok(Some(24)));
        assert_eq!(params.number::<u16>("empty"), Ok(None));
        assert!(params.number::<u16>("bad").is_err());
        assert_eq!(params.json::<Vec<u8>>("none"), Ok(None));
        assert_eq!(params.json::<Vec<u8>>("list"), Ok(Some(vec![7])));
        assert!(params.json::<Vec<u8>>("bad").is_err());
    }
}
