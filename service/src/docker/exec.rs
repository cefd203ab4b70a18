//! Execs: made, started on a connection of their own, looked at.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{FromRequest as _, Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use kiln_engine::ErrorKind;
use kiln_engine::attach::{Attach, AttachInput, Stream};
use kiln_engine::containers::Status;
use kiln_engine::exec::ExecOptions;

use super::body::Json;
use super::containers::runs::{Viewer, show};
use super::containers::{exec_failed, find, size, tell};
use super::hijack::{self, DetachKeys, Duplex, hijack};
use super::model::exec::{Create, Created, Inspect, ProcessConfig, Start};
use super::params::Params;
use super::version::ApiVersion;
use super::{Answer, Daemon, Failure, json, stream, task};

/// Execs that are remembered at one time.
const MAX_EXECS: usize = 4096;
/// How long one that ended is remembered.
const REMEMBERED: Duration = Duration::from_secs(5 * 60);

pub(super) fn routes() -> Router<Daemon> {
    Router::new()
        .route("/exec/{id}/start", post(start))
        .route("/exec/{id}/resize", post(resize))
        .route("/exec/{id}/json", get(inspect))
}

/// The execs of all containers.
#[derive(Debug, Default)]
pub(crate) struct Execs(Mutex<HashMap<String, Exec>>);

/// One exec.
struct Exec {
    container: String,
    create: Create,
    life: Life,
    /// The way in, while it runs.
    input: Option<Arc<dyn AttachInput>>,
}

/// Where an exec is in its life.
#[derive(Clone, Copy, Debug)]
enum Life {
    Made,
    Runs,
    /// It runs for nobody, or ended: what becomes of it is not known here.
    Detached(Instant),
    Ended(i32, Instant),
}

impl std::fmt::Debug for Exec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exec")
            .field("container", &self.container)
            .field("life", &self.life)
            .finish_non_exhaustive()
    }
}

impl Execs {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Exec>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The execs of a container that have not ended.
    pub(crate) fn of(&self, container: &str) -> Vec<String> {
        let is_open = |exec: &Exec| exec.container == container && !matches!(exec.life, Life::Ended(..));
        self.all().iter().filter(|(_, exec)| is_open(exec)).map(|(id, _)| id.clone()).collect()
    }

    fn add(&self, id: String, exec: Exec) -> Result<(), Failure> {
        let mut all = self.all();
        all.retain(|_, exec| match exec.life {
            Life::Ended(_, at) | Life::Detached(at) => at.elapsed() < REMEMBERED,
            Life::Made | Life::Runs => true,
        });
        if all.len() >= MAX_EXECS {
            let message = format!("{MAX_EXECS} execs are being remembered already");
            return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, message));
        }
        all.insert(id, exec);
        Ok(())
    }

    /// Forgets those of a container that is removed and that nobody has started.
    pub(crate) fn forget(&self, container: &str) {
        self.all().retain(|_, exec| exec.container != container || !matches!(exec.life, Life::Made));
    }

    /// Looks at one or changes it.
    fn with<T>(&self, id: &str, look: impl FnOnce(&mut Exec) -> T) -> Result<T, Failure> {
        let missing = || Failure::new(StatusCode::NOT_FOUND, format!("No such exec instance: {id}"));
        self.all().get_mut(id).map(look).ok_or_else(missing)
    }
}

/// `POST /containers/{id}/exec`
pub(super) async fn create(
    State(daemon): State<Daemon>,
    Path(name): Path<String>,
    body: Json<Create>,
) -> Answer {
    let create = body.required()?;
    if create.cmd.is_empty() {
        return Err(Failure::bad_request("No exec command specified"));
    }
    // Not only when the program runs already.
    keys(&create)?;
    let container = find(&daemon, &name).await?;
    match container.state.status {
        Status::Running => {}
        Status::Paused => {
            let message = format!("container {name} is paused, unpause the container before exec");
            return Err(Failure::new(StatusCode::CONFLICT, message));
        }
        _ => {
            let message = format!("container {} is not running", container.id);
            return Err(Failure::new(StatusCode::CONFLICT, message));
        }
    }
    let id = task::blocking(kiln_engine::new_id).await?;
    let action = format!("exec_create: {}", create.cmd.join(" "));
    let exec = Exec { container: container.id.clone(), create, life: Life::Made, input: None };
    daemon.execs.add(id.clone(), exec)?;
    tell(&daemon, &action, &container, [("execID".to_owned(), id.clone())]);
    Ok(json(StatusCode::CREATED, &Created { id }))
}

/// `POST /exec/{id}/start`
async fn start(
    State(daemon): State<Daemon>,
    Path(id): Path<String>,
    Extension(version): Extension<ApiVersion>,
    request: Request,
) -> Answer {
    // The connection is needed whole after its body was read.
    let (parts, body) = request.into_parts();
    let rest = Request::from_parts(parts.clone(), Body::empty());
    let asked =
        Json::<Start>::from_request(Request::from_parts(parts, body), &()).await?.0.unwrap_or_default();
    let begun = daemon.execs.with(&id, |exec| match exec.life {
        Life::Made => {
            exec.life = Life::Runs;
            Ok((exec.container.clone(), exec.create.clone()))
        }
        _ => Err(Failure::new(StatusCode::CONFLICT, format!("exec {id} was started already"))),
    });
    let (container, create) = begun??;
    let begun = Begun { daemon: &daemon, id: &id };
    let options = options(&create, asked);
    let (engine, wanted) = (daemon.engine.clone(), container.clone());
    let started = task::run(move || engine.containers().exec(&wanted, &options)).await;
    let started = match started {
        Ok(started) => started,
        Err(error) => {
            let kind = error.kind;
            let failure = exec_failed(error, &container);
            let code = if kind == ErrorKind::CommandNotFound { 127 } else { 126 };
            daemon.execs.with(&id, |exec| exec.life = Life::Ended(code, Instant::now()))?;
            let is_of_program = matches!(kind, ErrorKind::CommandNotFound | ErrorKind::CommandNotExecutable);
            return if is_of_program && !asked.detach {
                Ok(refusal(rest, &create, version, &failure))
            } else {
                Err(failure)
            };
        }
    };
    let container = find(&daemon, &container).await?;
    tell(
        &daemon,
        &format!("exec_start: {}", create.cmd.join(" ")),
        &container,
        [("execID".to_owned(), id.clone())],
    );
    // One that runs for nobody is let go.
    let Some(attach) = started else { return Ok(StatusCode::OK.into_response()) };
    daemon.execs.with(&id, |exec| exec.input = Some(Arc::clone(&attach.input)))?;
    let (response, duplex) = hijack(rest, hijack::content_type(!create.tty, version));
    connect(&daemon, &id, &create, attach, duplex)?;
    // Its thread remembers how it ends.
    std::mem::forget(begun);
    Ok(response)
}

/// An exec that was begun. One that nobody comes to look after, as its client has gone away, does not run for ever.
struct Begun<'a> {
    daemon: &'a Daemon,
    id: &'a str,
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        let let_go = self.daemon.execs.with(self.id, |exec| {
            if matches!(exec.life, Life::Runs) {
                exec.life = Life::Detached(Instant::now());
                exec.input = None;
            }
        });
        // Forgotten already is as good.
        drop(let_go);
    }
}

/// A program that cannot be run says so on its own standard error; clients ask for its exit code then.
fn refusal(request: Request, create: &Create, version: ApiVersion, failure: &Failure) -> Response {
    let (response, Duplex { output, .. }) = hijack(request, hijack::content_type(!create.tty, version));
    let text = format!("{failure}\r\n").into_bytes();
    let bytes = if create.tty { text } else { stream::frame(Stream::Stderr, &text) };
    // There is room for the first piece.
    let _ = output.try_send(Ok(bytes.into()));
    response
}

/// Moves bytes between an exec and its client, and remembers how it ended.
fn connect(
    daemon: &Daemon,
    id: &str,
    create: &Create,
    attach: Attach,
    duplex: Duplex,
) -> Result<(), Failure> {
    let keys = keys(create)?;
    let Duplex { output, input, .. } = duplex;
    if let Some(input) = input.filter(|_| create.attach_stdin) {
        // Not a way to the client by itself: the stream ends with the process.
        let weak = output.downgrade();
        hijack::feed(input, Arc::clone(&attach.input), keys, move || hijack::end(&weak))?;
    }
    let wanted = [create.attach_stdout || create.tty, create.attach_stderr];
    let viewer = Viewer { output, framed: !create.tty, wanted, input: None };
    let (daemon, id) = (daemon.clone(), id.to_owned());
    task::thread("exec", move || {
        let remember = |code: i32| {
            let ended = daemon.execs.with(&id, |exec| {
                exec.life = Life::Ended(code, Instant::now());
                exec.input = None;
            });
            // Forgotten already is as good.
            drop(ended);
        };
        show_until_end(attach, viewer, remember);
    })?;
    Ok(())
}

/// The keys by which an exec with a terminal is left.
fn keys(create: &Create) -> Result<DetachKeys, Failure> {
    match create.tty {
        true => DetachKeys::parse(Some(create.detach_keys.as_str()).filter(|keys| !keys.is_empty())),
        false => Ok(DetachKeys::none()),
    }
}

/// The client asks for the code when its stream has ended, so the code comes first.
fn show_until_end(attach: Attach, viewer: Viewer, remember: impl FnOnce(i32)) {
    let output = viewer.output.clone();
    remember(show(attach, viewer));
    drop(output);
}

fn options(create: &Create, asked: Start) -> ExecOptions {
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    let size = asked.console_size.or(create.console_size).map(|[rows, columns]| (rows, columns));
    ExecOptions {
        command: create.cmd.clone(),
        env: create.env.clone(),
        user: some(&create.user),
        working_dir: some(&create.working_dir),
        tty: create.tty || asked.tty,
        open_stdin: create.attach_stdin,
        privileged: create.privileged,
        detach: asked.detach,
        size: size.filter(|_| create.tty),
    }
}

/// `POST /exec/{id}/resize`
async fn resize(State(daemon): State<Daemon>, Path(id): Path<String>, params: Params) -> Answer {
    let (rows, columns) = size(&params)?;
    let input = daemon.execs.with(&id, |exec| exec.input.clone())?;
    match input {
        Some(input) => task::blocking(move || input.resize(rows, columns)).await?,
        None => return Err(Failure::new(StatusCode::CONFLICT, format!("exec {id} is not running"))),
    }
    Ok(StatusCode::OK.into_response())
}

/// `GET /exec/{id}/json`
async fn inspect(State(daemon): State<Daemon>, Path(id): Path<String>) -> Answer {
    let answer = daemon.execs.with(&id, |exec| {
        let create = &exec.create;
        let (program, arguments) =
            create.cmd.split_first().map_or(("", &[][..]), |(first, rest)| (first, rest));
        Inspect {
            id: id.clone(),
            running: matches!(exec.life, Life::Runs),
            exit_code: match exec.life {
                Life::Ended(code, _) => Some(code),
                _ => None,
            },
            process_config: ProcessConfig {
                tty: create.tty,
                entrypoint: program.to_owned(),
                arguments: arguments.to_vec(),
                privileged: create.privileged,
                user: create.user.clone(),
            },
            open_stdin: create.attach_stdin,
            open_stderr: create.attach_stderr,
            open_stdout: create.attach_stdout,
            can_remove: matches!(exec.life, Life::Ended(..)),
            container_id: exec.container.clone(),
            detach_keys: create.detach_keys.clone(),
            pid: 0,
        }
    })?;
    Ok(json(StatusCode::OK, &answer))
}
