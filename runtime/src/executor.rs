//! The asynchronous door to the runtime.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::launch::{ExitStatus, Stdio, start};
use crate::run_spec::RunSpec;

/// A boxed future.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Tells a run to end early. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    state: Arc<CancelState>,
}

#[derive(Debug, Default)]
struct CancelState {
    cancelled: std::sync::atomic::AtomicBool,
    wake: tokio::sync::Notify,
}

impl Cancel {
    /// Asks everybody who holds a clone to end.
    pub fn cancel(&self) {
        self.state.cancelled.store(true, std::sync::atomic::Ordering::SeqCst);
        self.state.wake.notify_waiters();
    }

    /// Whether somebody asked.
    pub fn is_cancelled(&self) -> bool {
        self.state.cancelled.load(std::sync::atomic::Ordering::SeqCst)
    }

    /// Waits until somebody asks.
    pub async fn cancelled(&self) {
        let woken = self.state.wake.notified();
        tokio::pin!(woken);
        woken.as_mut().enable();
        if !self.is_cancelled() {
            woken.await;
        }
    }
}

/// Runs containers to their end; builds use it for `RUN`.
pub trait Executor: Send + Sync {
    /// Runs one container. When `cancel` fires (or the future is dropped), everything in it is killed.
    fn run<'a>(&'a self, spec: RunSpec, stdio: Stdio, cancel: Cancel) -> BoxFuture<'a, Result<ExitStatus>>;
}

/// Runs containers on this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinuxExecutor;

impl Executor for LinuxExecutor {
    fn run<'a>(&'a self, spec: RunSpec, stdio: Stdio, cancel: Cancel) -> BoxFuture<'a, Result<ExitStatus>> {
        Box::pin(async move {
            let mut running = blocking(move || start(spec, stdio)).await?;
            // Kills when this future is dropped, while a blocking thread waits.
            let killer = running.killer();
            let _guard = KillOnDrop(killer.clone());
            let wait = blocking(move || running.wait());
            tokio::pin!(wait);
            tokio::select! {
                status = &mut wait => status,
                () = cancel.cancelled() => {
                    killer.kill(9)?;
                    wait.await
                }
            }
        })
    }
}

struct KillOnDrop(crate::launch::Killer);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill(9);
    }
}

async fn blocking<T: Send + 'static>(f: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(f).await {
        Ok(result) => result,
        Err(_) => Err(Error::Invalid("the runtime is shutting down".to_owned())),
    }
}
