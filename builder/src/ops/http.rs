//! The source that is one downloaded file: `ADD https://…`.
//!
//! A file with a known digest is fetched when nothing with that digest is remembered. Any other is asked for in each
//! build, with what is known of the last answer, so that a server sends an unchanged file once.

mod remembered;

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use kiln_graph::url::redact;
use kiln_graph::{ChmodSpec, Owner, Principal};
use kiln_oci::{Digest, Digester};
use kiln_registry_client::{Content, Download, Downloaded, ErrorKind, Validators};
use kiln_sys::fs;
use tokio::io::AsyncWriteExt;

use super::{Op, Pin, credentials};
use crate::error::Cause;
use crate::flight::Crowd;
use crate::progress::{EventKind, Reporter, Transfer};
use crate::session::Session;
use crate::solver::blocking;
use crate::stores::Stores;
use crate::value::{Layers, Value};
use crate::workspace::Workspace;

/// The most bytes of a downloaded file.
const MAX_DOWNLOAD: u64 = 64 << 30;
/// How often a download is begun whose connection breaks.
const ATTEMPTS: usize = 3;
/// The time between two reports of progress.
const REPORT_EVERY: Duration = Duration::from_millis(100);
/// The permissions of a file for which none are asked.
const MODE: u32 = 0o600;

/// What is to be downloaded, and as what.
#[derive(Debug)]
pub struct Wanted {
    /// From where.
    pub url: String,
    /// What it must hash to.
    pub checksum: Option<Digest>,
    /// Its name.
    pub filename: String,
    /// Its permissions.
    pub mode: Option<ChmodSpec>,
    /// Its owner, by number.
    pub owner: Option<Owner>,
}

/// Downloads a file.
#[derive(Debug)]
pub struct HttpOp {
    stores: Arc<Stores>,
    wanted: Wanted,
}

/// A file that is here, alone in a filesystem.
struct Fetched {
    digest: Digest,
    validators: Validators,
    layers: Layers,
}

impl HttpOp {
    /// The file `wanted`.
    pub fn new(stores: Arc<Stores>, wanted: Wanted) -> Self {
        HttpOp { stores, wanted }
    }

    /// What the file is: its content, and everything about it that a `COPY` can see.
    fn identity(&self, digest: &Digest, modified: Option<i64>) -> Digest {
        let Wanted { url: _, checksum: _, filename, mode, owner } = &self.wanted;
        let mode = mode.as_ref().map(ToString::to_string);
        Digest::of(format!("http {digest} {filename:?} {mode:?} {owner:?} {modified:?}").as_bytes())
    }

    /// The file, from the server or as it was remembered.
    async fn fetch(&self, session: &Session, reporter: &dyn Reporter) -> Result<Fetched, Cause> {
        let known = self.known().await?;
        let validators = known.as_ref().map(|known| known.validators.clone()).unwrap_or_default();
        match self.download(session, &validators, reporter).await? {
            Some(fetched) => self.remember(fetched).await,
            None => known.ok_or_else(|| Cause::Invalid("the server says that nothing changed".to_owned())),
        }
    }

    /// Downloads, again from the start where a connection breaks; `None` where `known` is what the server has.
    async fn download(
        &self,
        session: &Session,
        known: &Validators,
        reporter: &dyn Reporter,
    ) -> Result<Option<Fetched>, Cause> {
        let (session, url) = (session.clone(), self.wanted.url.clone());
        let authorization = blocking(move || credentials::of_download(&session, &url)).await?;
        let request = Download { url: &self.wanted.url, authorization: authorization.as_deref(), known };
        for attempt in 1.. {
            let Downloaded::Content(content) = self.stores.client.download(request).await? else {
                return Ok(None);
            };
            match self.save(*content, reporter).await {
                Err(Cause::Registry(error)) if error.kind == ErrorKind::Unavailable && attempt < ATTEMPTS => {
                    tracing::info!(%error, "downloading again");
                }
                result => return result.map(Some),
            }
        }
        Ok(None)
    }

    /// Writes the content to a filesystem of its own, which becomes a layer once everything about it is right.
    async fn save(&self, mut content: Content, reporter: &dyn Reporter) -> Result<Fetched, Cause> {
        let name = self.file_name()?;
        let store = self.stores.store.clone();
        let begun = blocking(move || {
            let workspace = Workspace::on(&store, &Layers::scratch())?;
            let file = fs::create_file(workspace.root()?.as_fd(), name, MODE)?;
            Ok((workspace, file))
        });
        let (workspace, file) = begun.await?;
        let mut file = tokio::fs::File::from_std(file);
        let digest = self.receive(&mut content, &mut file, reporter).await?;
        if let Some(expected) = self.wanted.checksum.as_ref().filter(|expected| **expected != digest) {
            return Err(content.error(format!("the file is `{digest}` and not `{expected}`")).into());
        }
        let (file, validators) = (file.into_std().await, content.validators);
        let (mode, owner) = (self.mode(), self.owner()?);
        let modified = fs::Time { seconds: validators.modified().unwrap_or(0), nanoseconds: 0 };
        let layers = blocking(move || {
            fs::fchown(file.as_fd(), owner)?;
            fs::fchmod(file.as_fd(), mode)?;
            fs::futimens(file.as_fd(), Some(modified), Some(modified))?;
            drop(file);
            workspace.commit()
        });
        Ok(Fetched { digest, validators, layers: layers.await? })
    }

    /// Writes what comes and hashes it on its way.
    async fn receive(
        &self,
        content: &mut Content,
        file: &mut tokio::fs::File,
        reporter: &dyn Reporter,
    ) -> Result<Digest, Cause> {
        let too_long =
            |content: &Content| content.error(format!("the file is larger than {MAX_DOWNLOAD} bytes"));
        if content.length.is_some_and(|length| length > MAX_DOWNLOAD) {
            return Err(too_long(content).into());
        }
        let failed = || Cause::io(format!("write `{}`", self.wanted.filename));
        let algorithm = self.wanted.checksum.as_ref().map(Digest::algorithm);
        let mut digester = algorithm.map_or_else(Digester::sha256, Digester::new);
        let (mut current, mut reported) = (0, Instant::now());
        self.report(reporter, current, content.length, false);
        while let Some(chunk) = content.chunk().await? {
            current += chunk.len() as u64;
            if current > MAX_DOWNLOAD {
                return Err(too_long(content).into());
            }
            digester.update(&chunk);
            file.write_all(&chunk).await.map_err(failed())?;
            if reported.elapsed() >= REPORT_EVERY {
                reported = Instant::now();
                self.report(reporter, current, content.length, false);
            }
        }
        file.flush().await.map_err(failed())?;
        if content.length.is_some_and(|length| length != current) {
            return Err(content.error(format!("the file ends after {current} bytes")).into());
        }
        self.report(reporter, current, Some(current), true);
        Ok(digester.finish())
    }

    fn report(&self, reporter: &dyn Reporter, current: u64, total: Option<u64>, done: bool) {
        let item = redact(&self.wanted.url);
        reporter.report(EventKind::Transfer(Transfer { item, action: "downloading", current, total, done }));
    }

    /// A name that is one component of a path.
    fn file_name(&self) -> Result<String, Cause> {
        let name = &self.wanted.filename;
        let one = Path::new(name).file_name().is_some_and(|last| last == name.as_str());
        match one && !name.contains('\0') {
            true => Ok(name.clone()),
            false => Err(Cause::Invalid(format!("`{name}` cannot be the name of a downloaded file"))),
        }
    }

    fn mode(&self) -> u32 {
        self.wanted.mode.as_ref().map_or(MODE, |spec| spec.apply(MODE, false))
    }

    fn owner(&self) -> Result<fs::Owner, Cause> {
        let number = |principal: &Option<Principal>| match principal {
            None => Ok(None),
            Some(Principal::Id(id)) => Ok(Some(*id)),
            Some(Principal::Name(name)) => Err(Cause::Invalid(format!(
                "a download cannot belong to `{name}`: its filesystem has no users"
            ))),
        };
        let Some(owner) = &self.wanted.owner else { return Ok(fs::Owner { uid: 0, gid: 0 }) };
        let uid = number(&owner.user)?.unwrap_or(0);
        Ok(fs::Owner { uid, gid: number(&owner.group)?.unwrap_or(uid) })
    }
}

impl Op for HttpOp {
    fn definition(&self) -> Digest {
        self.record_key()
    }

    fn pin<'a>(
        &'a self,
        session: &'a Session,
        reporter: &'a dyn Reporter,
    ) -> BoxFuture<'a, Result<Option<Pin>, Cause>> {
        Box::pin(async move {
            if let Some(checksum) = &self.wanted.checksum {
                session.materials.add_download(&self.wanted.url, checksum);
                return Ok(Some(Pin { identity: self.identity(checksum, None), value: None }));
            }
            reporter.report(EventKind::Started);
            let fetched = self.fetch(session, reporter).await?;
            session.materials.add_download(&self.wanted.url, &fetched.digest);
            let identity = self.identity(&fetched.digest, fetched.validators.modified());
            Ok(Some(Pin { identity, value: Some(Value::Layers(fetched.layers)) }))
        })
    }

    /// Reached with a checksum only: all other files come with their pins.
    fn run<'a>(&'a self, _inputs: Vec<Value>, crowd: &'a Crowd) -> BoxFuture<'a, Result<Vec<Value>, Cause>> {
        Box::pin(async {
            let session = crowd.session().unwrap_or_else(Session::empty);
            let nothing = Validators::default();
            let fetched = tokio::select! {
                fetched = self.download(&session, &nothing, crowd) => fetched?,
                () = crowd.cancel().cancelled() => return Err(Cause::Cancelled),
            };
            let fetched = fetched.ok_or(Cause::Cancelled)?;
            Ok(vec![Value::Layers(fetched.layers)])
        })
    }
}
