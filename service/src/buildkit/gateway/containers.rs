//! Containers in which a client works while its build goes on: made of results, ended with the build at the latest.

use std::sync::Arc;

use bollard_buildkit_proto::moby::buildkit::v1::frontend as wire;
use bollard_buildkit_proto::pb;
use kiln_engine::build::{BuildContainer, BuildRequest, Prepared};
use kiln_engine::oci::Platform;
use kiln_engine::{Error, Result};
use kiln_graph::{ExecOp, ExtraHost};
use tonic::Status;

use super::super::errors;
use super::super::llb::exec::{mounts_of, network_of};
use super::super::workers::platform_of;
use super::{Caller, Gateway, State, over};

/// The most containers of one build at once.
const MAX_CONTAINERS: usize = 64;
/// An input that is none, an output that is the process's own, and none, in the wire's numbers.
const NO_INPUT: i64 = -1;
const ROOT_OUTPUT: i64 = 0;
const NO_OUTPUT: i64 = -1;
/// Where the filesystem of a process is mounted.
const ROOT: &str = "/";

/// Makes a container; nothing runs in it yet.
pub(super) async fn open(
    caller: &Caller,
    request: wire::NewContainerRequest,
) -> std::result::Result<(), Status> {
    let Caller { gateway, .. } = caller;
    gateway.check_container(&request.container_id)?;
    let told = |error: Error| errors::status(&error);
    let (mut results, mut mounts) = (Vec::new(), Vec::with_capacity(request.mounts.len()));
    for mount in request.mounts {
        let input = match mount.result_id.as_str() {
            "" => NO_INPUT,
            id => {
                let found = gateway.find(id)?;
                results.push((found.part.prepared.clone(), found.number));
                results.len() as i64 - 1
            }
        };
        let output = if mount.dest == ROOT && !mount.readonly { ROOT_OUTPUT } else { NO_OUTPUT };
        mounts.push(pb::Mount { input, output, ..mount });
    }
    let platform = request.platform.as_ref().map_or_else(Platform::host, |it| platform_of(Some(it)));
    let hosts = request.extra_hosts.into_iter().map(|host| ExtraHost { name: host.host, address: host.ip });
    let op = ExecOp {
        mounts: mounts_of(mounts, &mut |input, _| Ok(u32::try_from(input).ok())).map_err(told)?,
        network: network_of(request.network).map_err(told)?,
        hostname: Some(request.hostname).filter(|name| !name.is_empty()),
        extra_hosts: hosts.collect(),
        ..ExecOp::new(Vec::new(), platform, None)
    };
    let container = make(caller, op, &results, &caller.work.fill(BuildRequest::default())).await;
    let container = container.map_err(told)?;
    gateway.keep_container(request.container_id, container)
}

/// A container of the caller's build.
pub(in super::super) async fn make(
    caller: &Caller,
    op: ExecOp,
    results: &[(Arc<Prepared>, usize)],
    request: &BuildRequest,
) -> Result<BuildContainer> {
    let work = &caller.work;
    let (sink, cancel) = (work.sink(Vec::new()), work.job.cancel.clone());
    work.engine.build_container(op, results, request, sink, cancel).await
}

/// Ends a container, and everything in it.
pub(super) async fn release(gateway: &Gateway, id: &str) -> std::result::Result<(), Status> {
    let container = gateway.state().containers.remove(id);
    let container = container.ok_or_else(|| missing(id))?;
    end(container).await;
    Ok(())
}

async fn end(container: Arc<BuildContainer>) {
    // Whoever starts a process at this moment ends it by letting go of it.
    if let Some(container) = Arc::into_inner(container) {
        // Nothing is left to be done where the runtime ends.
        drop(tokio::task::spawn_blocking(move || container.end()).await);
    }
}

fn missing(id: &str) -> Status {
    Status::not_found(format!("container {:?} previously released or not created", id.escape_debug()))
}

impl Gateway {
    /// The container `id`.
    pub(super) fn container(&self, id: &str) -> std::result::Result<Arc<BuildContainer>, Status> {
        self.state().containers.get(id).cloned().ok_or_else(|| missing(id))
    }

    /// Ends all containers.
    pub(in super::super) async fn end_containers(&self) {
        let all = std::mem::take(&mut self.state().containers);
        for container in all.into_values() {
            end(container).await;
        }
    }

    /// Refuses a container of this name, where there is one or there are too many: before it is made, for a good error.
    fn check_container(&self, id: &str) -> std::result::Result<(), Status> {
        room(&self.state(), id)
    }

    fn keep_container(&self, id: String, container: BuildContainer) -> std::result::Result<(), Status> {
        let mut state = self.state();
        room(&state, &id)?;
        state.containers.insert(id, Arc::new(container));
        Ok(())
    }
}

fn room(state: &State, id: &str) -> std::result::Result<(), Status> {
    if state.closed {
        return Err(over());
    }
    if state.containers.contains_key(id) {
        return Err(Status::already_exists(format!("Container {} already exists", id.escape_debug())));
    }
    match state.containers.len() >= MAX_CONTAINERS {
        true => Err(Status::resource_exhausted(format!("{MAX_CONTAINERS} containers run already"))),
        false => Ok(()),
    }
}
