//! The engine's blocking calls, beside the threads that answer.

use kiln_engine::{Error, Result};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::Failure;

/// The stack of a thread that moves bytes.
const STACK: usize = 256 << 10;

/// Runs something that does not take long on the pool for such things.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> std::result::Result<T, Failure> {
    Ok(run(work).await?)
}

/// The same with the engine's own error.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::internal("answer the request", error)),
    }
}

/// The same for what takes as long as a client or a container wants, on a thread of its own: see [`thread`].
pub(crate) async fn long<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (told, done) = oneshot::channel();
    let runtime = Handle::current();
    let builder = std::thread::Builder::new().name(name.to_owned());
    let started = builder.spawn(move || {
        let _entered = runtime.enter();
        // Whoever asked may be gone.
        let _ = told.send(work());
    });
    started.map(drop).map_err(|error| Error::internal("start a thread", error))?;
    done.await.map_err(|error| Error::internal("answer the request", error))?
}

/// Runs something that may take as long as a container lives on a thread of its own: many of them must not keep the pool
/// from what is short.
pub(crate) fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let builder = std::thread::Builder::new().name(name.to_owned()).stack_size(STACK);
    builder.spawn(work).map(drop).map_err(|error| Error::internal("start a thread", error))
}
