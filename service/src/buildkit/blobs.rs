//! containerd's `Content` on the daemon's side: what is kept of builds besides their records. It is read, and never written.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bollard_buildkit_proto::google::protobuf::Timestamp;
use bollard_buildkit_proto::google::rpc;
use bollard_buildkit_proto::moby::buildkit::v1 as wire;
use futures_util::stream::{Iter, iter};
use kiln_engine::build::Said;
use kiln_engine::oci::Digest;
use prost::Message as _;
use tonic::body::Body;
use tonic::codegen::{StdError, http};
use tonic::server::{Grpc, NamedService, ServerStreamingService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::Service;

use super::Server;
use super::content::{READ, ReadContentRequest, ReadContentResponse};
use super::jobs::Job;

/// How clients learn how long a blob is.
const INFO: &str = "/containerd.services.content.v1.Content/Info";
/// What statements are, and where their sort is said.
const STATEMENT: &str = "application/vnd.in-toto+json";
const PREDICATE: &str = "in-toto.io/predicate-type";
/// What an error with its details is.
const ERROR: &str = "application/vnd.googleapis.google.rpc.status+proto";
/// Bytes of one message.
const CHUNK: usize = 1 << 20;

/// Some bytes that are kept of a build.
#[derive(Debug)]
pub(super) struct Blob {
    pub(super) of: Subject,
    /// What points to it.
    pub(super) descriptor: wire::Descriptor,
    bytes: Vec<u8>,
}

/// What a blob is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    /// The image for this platform; `None` where there is one for no other.
    Image(Option<String>),
    /// Why the build failed.
    Failure,
}

impl Blob {
    /// What a build said of an image, one of `several` perhaps.
    pub(super) fn of_statement(said: &Said, several: bool) -> Blob {
        let mut blob = Blob::new(Subject::Image(None), STATEMENT, said.predicate.clone().into_bytes());
        blob.descriptor.annotations.insert(PREDICATE.to_owned(), said.predicate_type.to_owned());
        blob.of = Subject::Image(several.then(|| said.platform.to_string()));
        blob
    }

    /// Why a build failed, with the lines that are to blame.
    pub(super) fn of_failure(failure: &rpc::Status) -> Blob {
        Blob::new(Subject::Failure, ERROR, failure.encode_to_vec())
    }

    fn new(of: Subject, media_type: &str, bytes: Vec<u8>) -> Blob {
        let (digest, size) = (Digest::of(&bytes).to_string(), self::size(&bytes));
        let media_type = media_type.to_owned();
        Blob { of, descriptor: wire::Descriptor { media_type, digest, size, ..Default::default() }, bytes }
    }

    /// Its length in bytes.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }
}

fn size(bytes: &[u8]) -> i64 {
    i64::try_from(bytes.len()).unwrap_or(i64::MAX)
}

/// Says in a build's record what is kept of it.
pub(super) fn describe(job: &Job, record: &mut wire::BuildHistoryRecord) {
    for blob in job.blobs() {
        let descriptor = blob.descriptor.clone();
        match &blob.of {
            Subject::Failure => record.external_error = Some(descriptor),
            Subject::Image(None) => {
                record.result.get_or_insert_default().attestations.push(descriptor);
            }
            Subject::Image(Some(platform)) => {
                record.results.entry(platform.clone()).or_default().attestations.push(descriptor);
            }
        }
    }
}

/// `containerd.services.content.v1.InfoRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct InfoRequest {
    #[prost(string, tag = "1")]
    digest: String,
}

/// `containerd.services.content.v1.InfoResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct InfoResponse {
    #[prost(message, optional, tag = "1")]
    info: Option<Info>,
}

/// `containerd.services.content.v1.Info`.
#[derive(Clone, PartialEq, prost::Message)]
struct Info {
    #[prost(string, tag = "1")]
    digest: String,
    #[prost(int64, tag = "2")]
    size: i64,
    #[prost(message, optional, tag = "3")]
    created_at: Option<Timestamp>,
    #[prost(message, optional, tag = "4")]
    updated_at: Option<Timestamp>,
}

/// The service.
#[derive(Clone)]
pub(super) struct Blobs(pub(super) Arc<Server>);

impl Blobs {
    fn find(&self, digest: &str) -> Result<(Arc<Job>, Arc<Blob>), Status> {
        let blobs = |job: Arc<Job>| job.blobs().into_iter().map(move |blob| (job.clone(), blob));
        let mut all = self.0.jobs.all().into_iter().flat_map(blobs);
        let found = all.find(|(_, blob)| blob.descriptor.digest == digest);
        let shown = || digest.escape_debug().take(80).collect::<String>();
        found.ok_or_else(|| Status::not_found(format!("content {}: not found", shown())))
    }

    fn info(&self, digest: &str) -> Result<InfoResponse, Status> {
        let (job, blob) = self.find(digest)?;
        let at = Some(super::status::timestamp(job.began));
        let wire::Descriptor { digest, size, .. } = blob.descriptor.clone();
        Ok(InfoResponse { info: Some(Info { digest, size, created_at: at, updated_at: at }) })
    }

    fn read(&self, asked: &ReadContentRequest) -> Result<Pieces, Status> {
        let (_, blob) = self.find(&asked.digest)?;
        let outside = || Status::out_of_range("read outside of the content");
        let offset = usize::try_from(asked.offset).map_err(|_| outside())?;
        let rest = blob.bytes.get(offset..).ok_or_else(outside)?;
        let length = usize::try_from(asked.size).ok().filter(|size| *size > 0).unwrap_or(rest.len());
        let piece = |(number, data): (usize, &[u8])| {
            let offset = size(&blob.bytes[..offset + number * CHUNK]);
            Ok(ReadContentResponse { offset, data: data.to_vec() })
        };
        let pieces: Vec<_> = rest[..length.min(rest.len())].chunks(CHUNK).enumerate().map(piece).collect();
        Ok(iter(pieces))
    }
}

type Pieces = Iter<std::vec::IntoIter<Result<ReadContentResponse, Status>>>;
type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl UnaryService<InfoRequest> for Blobs {
    type Response = InfoResponse;
    type Future = Later<Result<Response<InfoResponse>, Status>>;

    fn call(&mut self, request: Request<InfoRequest>) -> Self::Future {
        let answer = self.info(&request.into_inner().digest).map(Response::new);
        Box::pin(std::future::ready(answer))
    }
}

impl ServerStreamingService<ReadContentRequest> for Blobs {
    type Response = ReadContentResponse;
    type ResponseStream = Pieces;
    type Future = Later<Result<Response<Pieces>, Status>>;

    fn call(&mut self, request: Request<ReadContentRequest>) -> Self::Future {
        Box::pin(std::future::ready(self.read(&request.into_inner()).map(Response::new)))
    }
}

impl NamedService for Blobs {
    const NAME: &'static str = "containerd.services.content.v1.Content";
}

impl<B> Service<http::Request<B>> for Blobs
where
    B: axum::body::HttpBody + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Later<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let blobs = self.clone();
        Box::pin(async move {
            Ok(match request.uri().path() {
                INFO => Grpc::new(ProstCodec::default()).unary(blobs, request).await,
                READ => Grpc::new(ProstCodec::default()).server_streaming(blobs, request).await,
                _ => Status::unimplemented("the content of builds is only read").into_http(),
            })
        })
    }
}
