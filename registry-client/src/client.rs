//! The client: what it is made of and the requests it offers.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use kiln_oci::verify::Verifier;
use kiln_oci::{Descriptor, Digest, MediaType, Reference};
use reqwest::Method;

use crate::auth::token::Authority;
use crate::config::RegistryConfig;
use crate::download::{self, Download, Downloaded};
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::pull::{BlobStream, Distrust, fetch};
use crate::push::{self, BlobSource, Pushed};
use crate::referrers::{self, Listed};
use crate::resolve::{self, Resolved};
use crate::retry::Limits;
use crate::session::{Access, Session, Shared};
use crate::stream;
use crate::transport::{Request, Transport};
use crate::{Credential, Credentials, NoCredentials};

/// What a client is made with.
#[derive(Clone)]
pub struct ClientOptions {
    /// How each registry is reached.
    pub config: RegistryConfig,
    /// Who we are.
    pub credentials: Arc<dyn Credentials>,
    /// What we call ourselves.
    pub user_agent: String,
    /// How long and how often things are tried.
    pub limits: Limits,
}

impl Default for ClientOptions {
    fn default() -> Self {
        ClientOptions {
            config: RegistryConfig::new(),
            credentials: Arc::new(NoCredentials),
            user_agent: concat!("kiln/", env!("CARGO_PKG_VERSION")).to_owned(),
            limits: Limits::default(),
        }
    }
}

impl std::fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientOptions").field("config", &self.config).finish_non_exhaustive()
    }
}

/// A client of OCI registries. Cheap to clone; all clones share connections and tokens.
///
/// What is read comes from the registry's mirrors where it has any, in their order, and from the registry itself
/// where they fail; what is written goes to the registry.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    distrust: Arc<Distrust>,
}

impl Client {
    /// A client. Nothing is contacted or loaded yet: not TLS, not the system's certificates, not credentials.
    pub fn new(options: ClientOptions) -> Self {
        let transport = Transport::new(options.config, options.limits, options.user_agent);
        let shared = Shared { transport, authority: Authority::new(options.credentials) };
        Client { shared: Arc::new(shared), distrust: Arc::default() }
    }

    /// A client of the same configuration that believes the registry `host` whatever its certificate, and speaks plain HTTP
    /// with it where it answers nothing else. It shares no connections and tokens with this one.
    pub async fn insecurely(&self, host: &str) -> Result<Client> {
        let mut config = self.shared.transport.config.clone();
        let table = config.entry(host.to_owned()).or_default();
        table.insecure = Some(true);
        let is_told = table.http.is_some();
        let client = self.configured(config.clone());
        if is_told || client.answers(host).await? {
            return Ok(client);
        }
        config.entry(host.to_owned()).or_default().http = Some(true);
        Ok(self.configured(config))
    }

    fn configured(&self, config: RegistryConfig) -> Client {
        let Transport { limits, user_agent, .. } = &self.shared.transport;
        let transport = Transport::new(config, limits.clone(), user_agent.clone());
        let shared = Shared { transport, authority: self.shared.authority.anew() };
        Client { shared: Arc::new(shared), distrust: Arc::default() }
    }

    /// Whether somebody answers at the registry `host`, whatever the answer.
    async fn answers(&self, host: &str) -> Result<bool> {
        let endpoint = Endpoint::upstream(host, &self.shared.transport.config)?;
        let request = Request::new(Method::GET, endpoint.root().clone());
        Ok(self.shared.transport.send(&request, None, false).await.is_ok())
    }

    /// Finds the manifest or index that `reference` names, verified.
    pub async fn resolve(&self, reference: &Reference) -> Result<Resolved> {
        let (last, mirrors) = self.sources(reference)?;
        for mirror in &mirrors {
            match resolve::resolve(mirror, reference).await {
                Ok(resolved) => return Ok(resolved),
                Err(error) => self.distrust.passed_over(&mirror.endpoint.name, &error),
            }
        }
        resolve::resolve(&last, reference).await
    }

    /// Asks what `reference` names without getting it, which registries do not count as a pull.
    ///
    /// The answer is the registry's word, to look up what is already here; `None` where it does not tell.
    pub async fn head(&self, reference: &Reference) -> Result<Option<Descriptor>> {
        let (last, mirrors) = self.sources(reference)?;
        for mirror in &mirrors {
            match resolve::head(mirror, reference).await {
                Ok(found) => return Ok(found),
                Err(error) => self.distrust.passed_over(&mirror.endpoint.name, &error),
            }
        }
        resolve::head(&last, reference).await
    }

    /// The bytes of the manifest or index that `descriptor` names, verified.
    pub async fn manifest(&self, reference: &Reference, descriptor: &Descriptor) -> Result<Bytes> {
        let (last, mirrors) = self.sources(reference)?;
        for mirror in &mirrors {
            match resolve::manifest(mirror, descriptor).await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => self.distrust.passed_over(&mirror.endpoint.name, &error),
            }
        }
        resolve::manifest(&last, descriptor).await
    }

    /// The content of a blob, verified: the stream ends in an error if digest or size differ.
    ///
    /// Only `reference`'s registry and repository count.
    pub async fn blob(&self, reference: &Reference, descriptor: &Descriptor) -> Result<BlobStream> {
        self.open(reference, descriptor, Verifier::new(&descriptor.digest, descriptor.size)).await
    }

    /// The same, but only the size is verified: for callers that hash the bytes themselves on another thread.
    ///
    /// Where the digest then is wrong, they call [`Client::distrust_mirrors`] before they ask once more.
    pub async fn blob_unhashed(&self, reference: &Reference, descriptor: &Descriptor) -> Result<BlobStream> {
        self.open(reference, descriptor, Verifier::of_size(&descriptor.digest, descriptor.size)).await
    }

    /// No mirror of `reference`'s registry is asked for this blob again.
    pub fn distrust_mirrors(&self, reference: &Reference, descriptor: &Descriptor) -> Result<()> {
        let mirrors = Endpoint::mirrors(reference.registry(), &self.shared.transport.config)?;
        mirrors.iter().for_each(|mirror| self.distrust.add(&mirror.name, &descriptor.digest));
        Ok(())
    }

    async fn open(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        verifier: Verifier,
    ) -> Result<BlobStream> {
        let (last, mirrors) = self.sources(reference)?;
        let honest = |mirror: &Session| !self.distrust.has(&mirror.endpoint.name, &descriptor.digest);
        let mut sources: VecDeque<Session> = mirrors.into_iter().filter(honest).collect();
        sources.push_back(last);
        fetch(sources, descriptor, verifier, &self.distrust).await
    }

    /// A small blob as a whole, for example a configuration; one that is longer than `limit` is not asked for.
    pub async fn blob_bytes(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        limit: u64,
    ) -> Result<Bytes> {
        if descriptor.size > limit {
            let message = format!("`{}` has {} bytes, more than {limit}", descriptor.digest, descriptor.size);
            return Err(Error::without_request(ErrorKind::Invalid, message));
        }
        match self.collect(reference, descriptor).await {
            Err(error) if error.kind == ErrorKind::Corrupt => self.collect(reference, descriptor).await,
            result => result,
        }
    }

    async fn collect(&self, reference: &Reference, descriptor: &Descriptor) -> Result<Bytes> {
        let mut stream = self.blob(reference, descriptor).await?;
        let mut bytes = BytesMut::new();
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk?);
        }
        Ok(bytes.freeze())
    }

    /// Whether the repository has the blob.
    pub async fn blob_exists(&self, reference: &Reference, descriptor: &Descriptor) -> Result<bool> {
        push::exists(&self.upstream(reference, Access::Pull)?, descriptor).await
    }

    /// Makes the repository have the blob: it is there already, or mounted from the repository `mount_from` of the
    /// same registry, or uploaded.
    pub async fn push_blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        source: Arc<dyn BlobSource>,
        mount_from: Option<&str>,
    ) -> Result<Pushed> {
        push::push_blob(&self.upstream(reference, Access::Push)?, descriptor, source, mount_from).await
    }

    /// Makes the repository have a blob that is still being made: what is there of it is sent meanwhile. A reader of `source` waits
    /// for what comes; `made` says what the blob is when all of it is there, or that nothing comes of it, and then nothing does
    /// here.
    pub async fn push_growing_blob(
        &self,
        reference: &Reference,
        source: Arc<dyn BlobSource>,
        made: impl Future<Output = Option<Descriptor>>,
    ) -> Result<Option<(Descriptor, Pushed)>> {
        stream::push_growing(&self.upstream(reference, Access::Push)?, source, made).await
    }

    /// Puts a manifest or index under the reference's tag, or under its digest where there is no tag.
    pub async fn push_manifest(
        &self,
        reference: &Reference,
        media_type: &MediaType,
        bytes: Bytes,
    ) -> Result<Descriptor> {
        push::push_manifest(&self.upstream(reference, Access::Push)?, reference, media_type, bytes).await
    }

    /// What refers to the manifest `subject` of a repository, of `artifact_type` where one is given. Asks each place once:
    /// nobody waits for what may not be there.
    pub async fn referrers(
        &self,
        reference: &Reference,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>> {
        let (last, mirrors) = self.sources(reference)?;
        for mirror in &mirrors {
            match referrers::list(mirror, reference, subject, artifact_type).await {
                Ok(found) => return Ok(found),
                Err(error) => self.distrust.passed_over(&mirror.endpoint.name, &error),
            }
        }
        referrers::list(&last.impatient(), reference, subject, artifact_type).await
    }

    /// Puts a manifest that refers to `subject`; what it names must be there. `referrer` is how it is listed, with its
    /// artifact type and annotations.
    pub async fn push_referrer(
        &self,
        reference: &Reference,
        subject: &Digest,
        referrer: &Descriptor,
        bytes: Bytes,
    ) -> Result<Listed> {
        let session = self.upstream(reference, Access::Push)?;
        referrers::push(&session, reference, subject, referrer, bytes).await
    }

    /// The tags of a repository.
    pub async fn tags(&self, reference: &Reference) -> Result<Vec<String>> {
        resolve::tags(&self.upstream(reference, Access::Pull)?).await
    }

    /// Asks any server for a file, with the connections, certificates and retries that registries are asked with.
    pub async fn download(&self, wanted: Download<'_>) -> Result<Downloaded> {
        download::download(&self.shared.transport, wanted).await
    }

    /// Whether the registry `host` accepts `credential`.
    pub async fn login(&self, host: &str, credential: &Credential) -> Result<()> {
        let Transport { config, limits, .. } = &self.shared.transport;
        let endpoint = Endpoint::upstream(host, config)?;
        let transport =
            Transport::new(config.clone(), limits.clone(), self.shared.transport.user_agent.clone());
        let authority =
            Authority::new(Arc::new(Only { host: endpoint.name.clone(), credential: credential.clone() }));
        let shared = Arc::new(Shared { transport, authority });
        let request = Request::new(Method::GET, endpoint.root().clone());
        Session::of_registry(&shared, endpoint).expect(&request, &[200]).await.map(drop)
    }

    fn upstream(&self, reference: &Reference, access: Access) -> Result<Session> {
        let endpoint = Endpoint::upstream(reference.registry(), &self.shared.transport.config)?;
        Ok(Session::new(&self.shared, endpoint, reference.repository(), access))
    }

    /// The registry itself, and its mirrors that are not known to be down.
    fn sources(&self, reference: &Reference) -> Result<(Session, Vec<Session>)> {
        let mirrors = Endpoint::mirrors(reference.registry(), &self.shared.transport.config)?;
        let session = |endpoint| Session::new(&self.shared, endpoint, reference.repository(), Access::Pull);
        let up = mirrors.into_iter().filter(|mirror| !self.distrust.is_down(&mirror.name));
        Ok((self.upstream(reference, Access::Pull)?, up.map(session).collect()))
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

/// One credential for one host.
struct Only {
    host: String,
    credential: Credential,
}

impl Credentials for Only {
    fn get(&self, host: &str) -> Option<Credential> {
        (host == self.host).then(|| self.credential.clone())
    }
}
