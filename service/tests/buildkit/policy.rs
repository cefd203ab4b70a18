//! A client that decides which sources its builds may use.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bollard_buildkit_proto::moby::buildkit::v1 as wire;
use bollard_buildkit_proto::moby::buildkit::v1::frontend;
use bollard_buildkit_proto::pb;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::Service;

use super::client::{Daemon, Files, solve};
use super::{context, exporter};

pub(crate) const METHOD: &str = "/moby.buildkit.v1.sourcepolicy.policysession.PolicyVerifier/CheckPolicy";

/// `moby.buildkit.v1.sourcepolicy.policysession.CheckPolicyRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Asked {
    #[prost(message, optional, tag = "1")]
    platform: Option<pb::Platform>,
    #[prost(message, optional, tag = "2")]
    source: Option<frontend::ResolveSourceMetaResponse>,
}

/// `moby.buildkit.v1.sourcepolicy.policysession.CheckPolicyResponse`, with a decision or a question.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Answer {
    #[prost(message, optional, tag = "1")]
    decision: Option<Decision>,
    #[prost(message, optional, tag = "2")]
    question: Option<frontend::ResolveSourceMetaRequest>,
}

/// `moby.buildkit.v1.sourcepolicy.policysession.DecisionResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Decision {
    #[prost(int32, tag = "1")]
    action: i32,
    #[prost(message, repeated, tag = "2")]
    reasons: Vec<Reason>,
}

/// `moby.buildkit.v1.sourcepolicy.policysession.DenyMessage`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Reason {
    #[prost(string, tag = "1")]
    message: String,
}

/// Answers by the source; what has none is allowed.
#[derive(Clone, Default)]
pub(crate) struct Verifier {
    answers: Arc<Mutex<BTreeMap<String, Answer>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl UnaryService<Asked> for Verifier {
    type Response = Answer;
    type Future = Ready<Result<Response<Answer>, Status>>;

    fn call(&mut self, request: Request<Asked>) -> Self::Future {
        let identifier = request.into_inner().source.unwrap().source.unwrap().identifier;
        let allowed = || Answer { decision: Some(Decision::default()), question: None };
        let answer = self.answers.lock().unwrap().get(&identifier).cloned();
        self.asked.lock().unwrap().push(identifier);
        ready(Ok(Response::new(answer.unwrap_or_else(allowed))))
    }
}

impl NamedService for Verifier {
    const NAME: &'static str = "moby.buildkit.v1.sourcepolicy.policysession.PolicyVerifier";
}

impl Service<http::Request<Body>> for Verifier {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let verifier = self.clone();
        Box::pin(async move { Ok(Grpc::new(ProstCodec::default()).unary(verifier, request).await) })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_decides_which_sources_are_used() {
    let daemon = Daemon::start().await;
    let dir = context("FROM scratch\nCOPY --from=docs a /\nCOPY d /\n");
    let files = Files::of(&[("context", dir.path()), ("dockerfile", dir.path()), ("more", dir.path())]);
    let _session = daemon.session("s", "", files.clone()).await;
    let request = |reference: &str| wire::SolveRequest {
        source_policy_session: "s".to_owned(),
        ..solve(reference, "s", &[("context:docs", "local:more")], vec![exporter("local", &[])])
    };
    daemon.control().await.solve(request("r1")).await.unwrap();
    let mut asked = std::mem::take(&mut *files.verifier.asked.lock().unwrap());
    asked.sort();
    assert_eq!(asked, ["local://context", "local://docs"], "each is asked about once");

    let answer = |source: &str, answer: Answer| {
        files.verifier.answers.lock().unwrap().insert(source.to_owned(), answer);
    };
    let decision = |action, reasons: &[&str]| {
        let reasons = reasons.iter().map(|text| Reason { message: (*text).to_owned() }).collect();
        Answer { decision: Some(Decision { action, reasons }), question: None }
    };
    answer("local://docs", decision(1, &["nobody reads them"]));
    let error = daemon.control().await.solve(request("r2")).await.unwrap_err();
    let wanted = "source \"local://docs\" not allowed by policy: action DENY\nnobody reads them";
    assert_eq!(error.message(), wanted);
    answer("local://docs", decision(2, &[]));
    assert_eq!(daemon.control().await.solve(request("r3")).await.unwrap_err().code(), Code::Unimplemented);
    // What a folder is, nobody can be told.
    let source = Some(pb::SourceOp { identifier: "local://docs".to_owned(), ..Default::default() });
    let question = Some(frontend::ResolveSourceMetaRequest { source, ..Default::default() });
    answer("local://docs", Answer { decision: None, question });
    assert_eq!(daemon.control().await.solve(request("r4")).await.unwrap_err().code(), Code::Unimplemented);
    let elsewhere = [("context", "https://host.invalid/context.tar")];
    answer("https://host.invalid/context.tar", decision(1, &[]));
    let fetched = wire::SolveRequest {
        source_policy_session: "s".to_owned(),
        ..solve("r5", "s", &elsewhere, Vec::new())
    };
    let error = daemon.control().await.solve(fetched).await.unwrap_err();
    assert!(
        error.message().contains("not allowed by policy"),
        "it is asked before it is fetched: {}",
        error.message()
    );
}
