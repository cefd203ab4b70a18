//! What a daemon is told while it runs: to stop, to stop at once, and to read its configuration again.

use kiln_engine::config::RegistryConfig;
use kiln_engine::{CancellationToken, Error};
use tokio::sync::mpsc;

use super::TlsFiles;
use super::notify::{self, State};
use super::tenants::Tenants;
use super::tls::{Offered, Tls};

/// How whoever runs the daemon speaks to it.
pub struct Control {
    /// Nobody new gets in, builds have their time to end, and then it is over.
    pub stop: CancellationToken,
    /// Builds that run have no time any more.
    pub hurry: CancellationToken,
    /// Something in the configuration may be different.
    pub reload: mpsc::Receiver<()>,
    /// Reads it again.
    pub read: Box<dyn Fn() -> Result<Settings, Error> + Send + Sync>,
}

/// What can be different without a new start.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// How registries are reached.
    pub registries: RegistryConfig,
    /// The files of TLS.
    pub tls: Option<TlsFiles>,
}

/// Reads again whenever it is told to, for ever. What cannot be read leaves everything as it was.
pub(super) async fn reread(
    told: &mut mpsc::Receiver<()>,
    read: &(dyn Fn() -> Result<Settings, Error> + Send + Sync),
    tenants: &Tenants,
    offered: Option<&Offered>,
) {
    while told.recv().await.is_some() {
        notify::tell(&State::Reloading);
        match again(read, offered.is_some()) {
            Ok((registries, tls)) => {
                tenants.reconfigure(&registries);
                if let (Some(offered), Some(tls)) = (offered, tls) {
                    offered.set(tls);
                }
                tracing::info!("the configuration and the certificates were read again");
            }
            Err(why) => tracing::error!(why, "the configuration and the certificates stay as they were"),
        }
        notify::tell(&State::Ready);
    }
    std::future::pending::<()>().await;
}

/// All of it, so that nothing is changed when one part is broken.
fn again(
    read: &(dyn Fn() -> Result<Settings, Error> + Send + Sync),
    wants_tls: bool,
) -> Result<(RegistryConfig, Option<Tls>), String> {
    let Settings { registries, tls } = read().map_err(|error| error.chain())?;
    let files = tls.as_ref().filter(|_| wants_tls);
    let tls = files.map(Tls::load).transpose().map_err(|error| error.to_string())?;
    Ok((registries, tls))
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}
