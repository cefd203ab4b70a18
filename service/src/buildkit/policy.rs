//! `PolicyVerifier`: the client is asked of each source of a build whether it may be used, before anything is made of it. Of
//! images it may ask back what they are.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use bollard_buildkit_proto::moby::buildkit::v1::frontend as wire;
use bollard_buildkit_proto::pb;
use kiln_engine::{Error, ErrorKind, Result};
use kiln_graph::SourceOp;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use super::gateway::images;
use super::secrets::PATIENCE;
use super::session::Session;
use super::solve::Work;
use super::workers;

/// What a client must serve for this.
const METHOD: &str = "/moby.buildkit.v1.sourcepolicy.policysession.PolicyVerifier/CheckPolicy";
/// How often a client may ask back about one source.
const MAX_QUESTIONS: usize = 10;
/// How images are told from other sources.
const IMAGE: &str = "docker-image://";

/// `moby.buildkit.v1.sourcepolicy.policysession.CheckPolicyRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct CheckPolicyRequest {
    #[prost(message, optional, tag = "1")]
    platform: Option<pb::Platform>,
    #[prost(message, optional, tag = "2")]
    source: Option<wire::ResolveSourceMetaResponse>,
}

/// `moby.buildkit.v1.sourcepolicy.policysession.CheckPolicyResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct CheckPolicyResponse {
    #[prost(oneof = "Answer", tags = "1, 2")]
    result: Option<Answer>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Answer {
    #[prost(message, tag = "1")]
    Decision(Decision),
    #[prost(message, tag = "2")]
    Question(Box<wire::ResolveSourceMetaRequest>),
}

/// `moby.buildkit.v1.sourcepolicy.policysession.DecisionResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct Decision {
    /// One of the three below.
    #[prost(int32, tag = "1")]
    action: i32,
    #[prost(message, repeated, tag = "2")]
    reasons: Vec<Reason>,
}

const ALLOW: i32 = 0;
const CONVERT: i32 = 2;

/// `moby.buildkit.v1.sourcepolicy.policysession.DenyMessage`.
#[derive(Clone, PartialEq, prost::Message)]
struct Reason {
    #[prost(string, tag = "1")]
    message: String,
}

/// A client that decides which sources its build may use.
pub(super) struct Policy {
    session: Arc<Session>,
    /// What was allowed already.
    allowed: Mutex<HashSet<String>>,
}

impl Policy {
    /// That of `session`. An error where it does not decide such things.
    pub(super) fn new(session: Arc<Session>) -> Result<Policy> {
        match session.supports(METHOD) {
            true => Ok(Policy { session, allowed: Mutex::default() }),
            false => Err(Error::invalid("the client has no source policy to be asked")),
        }
    }

    /// Asks about a source of `work`. An error where it may not be used, or where the client wants another instead.
    pub(super) async fn check(&self, work: &Work, source: &SourceOp) -> Result<()> {
        let (source, platform) = told(source);
        let key = format!("{platform:?} {source:?}");
        // One after the other, so that nothing is asked twice.
        let mut allowed = self.allowed.lock().await;
        if allowed.contains(&key) {
            return Ok(());
        }
        let mut request = CheckPolicyRequest { platform, source: Some(only(source.clone())) };
        for _ in 0..MAX_QUESTIONS {
            match self.ask(work, request.clone()).await? {
                Answer::Decision(decision) => {
                    decide(&source.identifier, &decision)?;
                    allowed.insert(key);
                    return Ok(());
                }
                Answer::Question(question) => {
                    request.source = Some(answer(work, &source, *question).await?);
                }
            }
        }
        let message = format!("the source policy asks too often about `{}`", source.identifier);
        Err(Error::invalid(message))
    }

    async fn ask(&self, work: &Work, request: CheckPolicyRequest) -> Result<Answer> {
        let failed = |why: &str| Error::invalid(format!("ask the client for its source policy: {why}"));
        let asked = async {
            let mut client = tonic::client::Grpc::new(self.session.channel());
            client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
            let codec: ProstCodec<CheckPolicyRequest, CheckPolicyResponse> = ProstCodec::default();
            client.unary(Request::new(request), PathAndQuery::from_static(METHOD), codec).await
        };
        let answer = tokio::select! {
            answer = timeout(PATIENCE, asked) => answer.map_err(|_| failed("it does not answer"))?,
            why = self.session.gone(&work.job.cancel) => return Err(Error::new(ErrorKind::Cancelled, why)),
        };
        let answer = answer.map_err(|status| failed(status.message()))?;
        answer.into_inner().result.ok_or_else(|| failed("it decides nothing"))
    }
}

fn only(source: pb::SourceOp) -> wire::ResolveSourceMetaResponse {
    wire::ResolveSourceMetaResponse { source: Some(source), ..Default::default() }
}

/// What a client wants to know before it decides.
async fn answer(
    work: &Work,
    source: &pb::SourceOp,
    question: wire::ResolveSourceMetaRequest,
) -> Result<wire::ResolveSourceMetaResponse> {
    let asked = question.source.as_ref().map(|source| source.identifier.as_str());
    if asked != Some(source.identifier.as_str()) {
        return Err(Error::invalid("the source policy asks about another source than it was asked about"));
    }
    let is_more = |image: &wire::ResolveSourceImageRequest| {
        image.attestation_chain || !image.resolve_attestations.is_empty()
    };
    if !source.identifier.starts_with(IMAGE) || question.image.as_ref().is_some_and(is_more) {
        let what = format!("a source policy that asks what `{}` is", source.identifier);
        return Err(Error::not_implemented(what));
    }
    let found = images::source(work, question).await;
    let found = found.map_err(|status| Error::invalid(status.message().to_owned()))?;
    // It is asked about by the name that it has in the build.
    Ok(wire::ResolveSourceMetaResponse { source: Some(source.clone()), ..found })
}

fn decide(identifier: &str, decision: &Decision) -> Result<()> {
    match decision.action {
        ALLOW => Ok(()),
        CONVERT => Err(Error::not_implemented(format!(
            "a source policy that puts another in the place of `{identifier}`"
        ))),
        _ => {
            let reasons: Vec<&str> = decision.reasons.iter().map(|reason| reason.message.as_str()).collect();
            let message = format!("source \"{identifier}\" not allowed by policy: action DENY");
            let error = Error::new(ErrorKind::Forbidden, message);
            Err(if reasons.is_empty() { error } else { error.with_hint(reasons.join("\n")) })
        }
    }
}

/// A source in the words of graphs, and the platform that it is for.
fn told(source: &SourceOp) -> (pb::SourceOp, Option<pb::Platform>) {
    let mut attrs = BTreeMap::new();
    let (identifier, platform) = match source {
        SourceOp::Image { reference, platform } => (format!("{IMAGE}{reference}"), Some(platform)),
        SourceOp::OciLayout { store, digest, platform } => {
            (format!("oci-layout://{store}@{digest}"), Some(platform))
        }
        SourceOp::Local { name, .. } => (format!("local://{name}"), None),
        SourceOp::Http { url, checksum, .. } => {
            attrs.extend(checksum.as_ref().map(|digest| ("http.checksum".to_owned(), digest.to_string())));
            (url.clone(), None)
        }
        SourceOp::Git { remote, reference, checksum, .. } => {
            attrs.insert("git.fullurl".to_owned(), remote.clone());
            attrs.extend(checksum.iter().map(|commit| ("git.checksum".to_owned(), commit.clone())));
            let place = remote.split_once("://").map_or(remote.as_str(), |(_, place)| place);
            let fragment = reference.as_ref().map(|reference| format!("#{reference}")).unwrap_or_default();
            (format!("git://{place}{fragment}"), None)
        }
    };
    (pb::SourceOp { identifier, attrs }, platform.map(workers::platform))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_allowed_says_why() {
        assert!(decide("x", &Decision::default()).is_ok());
        let denied = Decision { action: 1, reasons: vec![Reason { message: "not signed".to_owned() }] };
        let error = decide("docker-image://x", &denied).unwrap_err();
        assert_eq!(error.message, "source \"docker-image://x\" not allowed by policy: action DENY");
        assert_eq!(error.hint.as_deref(), Some("not signed"));
        let converted = Decision { action: CONVERT, reasons: Vec::new() };
        assert_eq!(decide("x", &converted).unwrap_err().kind, ErrorKind::NotImplemented);
    }

    #[test]
    fn sources_are_told_as_buildkit_calls_them() {
        let (git, platform) = told(&kiln_engine::build::remote_source("https://host/a.git#main").unwrap());
        assert_eq!((git.identifier.as_str(), platform), ("git://host/a.git#main", None));
        assert_eq!(git.attrs["git.fullurl"], "https://host/a.git");
    }
}
