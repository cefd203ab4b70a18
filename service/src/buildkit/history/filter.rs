//! Which records a client wants: `status==completed,startedAt>=24h`, as `buildx history ls` and `buildctl` write it.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use kiln_engine::csv;
use tonic::Status;

use crate::buildkit::jobs::Job;

/// What is compared with, the longer words first.
const OPERATORS: [(&str, Operator); 9] = [
    ("==", Operator::Is),
    ("!=", Operator::IsNot),
    ("~=", Operator::Contains),
    (">=", Operator::AtLeast),
    ("<=", Operator::AtMost),
    (">", Operator::More),
    ("<", Operator::Less),
    ("=", Operator::Is),
    ("~", Operator::Contains),
];
/// The units of a time span.
const UNITS: [(&str, f64); 7] =
    [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
/// By what clients know a build that was given up.
const CANCELLED: &str = "context canceled";

/// One filter: conditions that must all hold.
#[derive(Debug)]
pub(super) struct Filter(Vec<Condition>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Is,
    IsNot,
    Contains,
    AtLeast,
    AtMost,
    More,
    Less,
}

#[derive(Debug)]
enum Condition {
    Text(Text, Operator, String),
    /// A number of seconds.
    Number(Number, Operator, f64),
}

#[derive(Debug, Clone, Copy)]
enum Text {
    Reference,
    Status,
    Repository,
}

#[derive(Debug, Clone, Copy)]
enum Number {
    Began,
    Ended,
    Took,
}

impl Filter {
    /// Reads conditions with commas between them, quoted as CSV. `~=` is whether the value is contained.
    pub(super) fn parse(text: &str) -> Result<Filter, Status> {
        let wrong = || Status::invalid_argument(format!("the filter `{}` is not known", text.escape_debug()));
        let fields = csv::record(text).ok_or_else(wrong)?;
        let conditions = fields.iter().map(|field| condition(field).ok_or_else(wrong));
        Ok(Filter(conditions.collect::<Result<_, _>>()?))
    }

    /// Whether a build is wanted.
    pub(super) fn takes(&self, job: &Job) -> bool {
        self.0.iter().all(|condition| condition.holds(job))
    }
}

fn condition(field: &str) -> Option<Condition> {
    // The first that occurs; of those at one place the longest.
    let found = OPERATORS.iter().filter_map(|(word, operator)| Some((field.find(word)?, *word, *operator)));
    let (at, word, operator) = found.min_by_key(|(at, word, _)| (*at, usize::MAX - word.len()))?;
    let (key, value) = (&field[..at], &field[at + word.len()..]);
    let is_order = matches!(operator, Operator::AtLeast | Operator::AtMost | Operator::More | Operator::Less);
    let text = |of| (!is_order).then(|| Condition::Text(of, operator, value.trim_matches('"').to_owned()));
    let number =
        |of, value: Option<f64>| value.filter(|_| is_order).map(|it| Condition::Number(of, operator, it));
    match key {
        "ref" => text(Text::Reference),
        "status" => text(Text::Status),
        "repository" => text(Text::Repository),
        "startedAt" => number(Number::Began, moment(value)),
        "completedAt" => number(Number::Ended, moment(value)),
        "duration" => number(Number::Took, span(value)),
        _ => None,
    }
}

/// A time, or how long ago it was; in seconds since 1970.
fn moment(text: &str) -> Option<f64> {
    let ago = || Some(seconds(SystemTime::now()) - span(text)?);
    ago().or_else(|| text.parse::<Timestamp>().ok().map(|it| it.as_second() as f64))
}

/// `1h30m`, `0.5s`, as seconds.
fn span(text: &str) -> Option<f64> {
    let mut rest = text;
    let mut all = 0.0;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let value: f64 = rest[..number].parse().ok()?;
        rest = &rest[number..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let (_, unit) = UNITS.iter().find(|(unit, _)| *unit == &rest[..end])?;
        all += value * unit;
        rest = &rest[end..];
    }
    (!text.is_empty()).then_some(all)
}

fn seconds(at: SystemTime) -> f64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
}

impl Condition {
    fn holds(&self, job: &Job) -> bool {
        match self {
            Condition::Text(of, operator, wanted) => {
                let said = of.of(job);
                match operator {
                    Operator::IsNot => said != *wanted,
                    Operator::Contains => said.contains(wanted.as_str()),
                    _ => said == *wanted,
                }
            }
            Condition::Number(of, operator, wanted) => {
                let Some(said) = of.of(job) else { return false };
                match operator {
                    Operator::AtLeast => said >= *wanted,
                    Operator::AtMost => said <= *wanted,
                    Operator::More => said > *wanted,
                    _ => said < *wanted,
                }
            }
        }
    }
}

impl Text {
    fn of(self, job: &Job) -> String {
        let attribute = |key: &str| job.asked.attributes.get(key).cloned();
        match self {
            Text::Reference => job.reference.clone(),
            Text::Repository => attribute("vcs:source").or_else(|| attribute("context")).unwrap_or_default(),
            Text::Status => match job.outcome().map(|ended| ended.answer) {
                None => "running".to_owned(),
                Some(Ok(_)) => "completed".to_owned(),
                Some(Err(error)) if error.message.contains(CANCELLED) => "canceled".to_owned(),
                Some(Err(_)) => "error".to_owned(),
            },
        }
    }
}

impl Number {
    /// Nothing of what has not happened yet.
    fn of(self, job: &Job) -> Option<f64> {
        let began = seconds(job.began);
        let ended = || job.outcome().map(|ended| seconds(ended.at));
        match self {
            Number::Began => Some(began),
            Number::Ended => ended(),
            Number::Took => ended().map(|ended| ended - began),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bollard_buildkit_proto::moby::buildkit::v1::SolveRequest;

    use super::*;
    use crate::buildkit::jobs::Jobs;

    #[tokio::test]
    async fn conditions_of_one_filter_hold_together() {
        let jobs = Jobs::new(kiln_engine::CancellationToken::new(), std::sync::Arc::default());
        let attributes = HashMap::from([("vcs:source".to_owned(), "https://host/repo.git".to_owned())]);
        let request = |name: &str| SolveRequest {
            r#ref: name.to_owned(),
            frontend_attrs: attributes.clone().into_iter().collect(),
            ..SolveRequest::default()
        };
        let job = jobs.begin(&request("abc"), &[]).unwrap();
        let takes = |text: &str| Filter::parse(text).unwrap().takes(&job);
        assert!(takes("status==running") && takes("ref~=bc") && !takes("ref==bc") && takes("ref!=bc"));
        assert!(!takes("completedAt>1h") && !takes("duration>=0s"), "it has not ended");
        jobs.end(&job, &Err(Status::cancelled("context canceled")));
        assert!(takes("status==canceled") && takes("status=canceled") && !takes("status==error"));
        assert!(takes("repository~=host/repo,startedAt>1h") && !takes("repository~=host/repo,startedAt<1h"));
        assert!(takes("duration<1m30s") && takes("completedAt>=2006-01-01T00:00:00Z"));
        assert!(takes(r#""ref==abc","status==canceled""#));
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        for bad in ["x==1", "ref", "startedAt==1h", "duration>soon", "ref>a", "duration>1", "completedAt>"] {
            assert!(Filter::parse(bad).is_err(), "{bad}");
        }
        assert_eq!((span("1h30m"), span("1.5s"), span("2ms")), (Some(5400.0), Some(1.5), Some(0.002)));
    }
}
