//! A container over what a step mounts: the step's own, or one in which somebody works while a build goes on.

use std::sync::Arc;

use kiln_graph::{ExecOp, Security};
use kiln_runtime::{Process, RunSpec};

use crate::cdi::Edits;
use crate::error::Cause;
use crate::mounts::{self, Prepared};
use crate::ops::exec::devices;
use crate::session::Session;
use crate::stores::{Sandbox, SandboxRequest, Stores};
use crate::value::{Layers, Value};

/// The name that a step's process finds itself under: BuildKit's, as what a step makes of it is part of an image.
const HOSTNAME: &str = "buildkitsandbox";

/// A container that can be started, and what must live until it has ended.
#[derive(Debug)]
pub struct Container {
    spec: RunSpec,
    prepared: Prepared,
    sandbox: Sandbox,
}

impl Container {
    /// Gets everything ready that `op` wants. May wait for a locked cache directory until `cancelled`. Blocking.
    pub fn new(
        stores: &Arc<Stores>,
        op: &ExecOp,
        inputs: &[Value],
        session: &Session,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Container, Cause> {
        let mut prepared = mounts::prepare(stores, op, inputs, session, cancelled)?;
        let hostname = op.hostname.clone().unwrap_or_else(|| HOSTNAME.to_owned());
        let request = SandboxRequest {
            network: op.network,
            hostname: &hostname,
            extra_hosts: &op.extra_hosts,
            is_confined: op.security == Security::Sandbox,
        };
        let sandbox = stores.network.acquire(&request)?;
        let devices = devices::of(stores, op)?;
        prepared.user_mounts.extend(devices.mounts.iter().cloned());
        let spec = RunSpec {
            host_proc: stores.host_proc,
            id: prepared.id(),
            rootfs: prepared.rootfs(),
            readonly_rootfs: prepared.is_readonly(),
            process: process(op, &prepared, &devices),
            hostname,
            mounts: std::mem::take(&mut prepared.user_mounts),
            devices: devices.nodes,
            etc: sandbox.etc.clone(),
            network: sandbox.network.clone(),
            resources: kiln_runtime::cgroup::Resources::default(),
            security: mounts::security(op.security),
            init: false,
            cgroup_parent: stores.cgroup_parent.clone(),
            rlimits: mounts::rlimits(&op.ulimits)?,
            freezable: false,
            shm_size: (op.shm_size > 0).then_some(op.shm_size),
        };
        Ok(Container { spec, prepared, sandbox })
    }

    /// What to start; its mounts are used up by the first start.
    pub fn spec(&self) -> &RunSpec {
        &self.spec
    }

    /// Makes a layer of what was written to its root, when nothing runs in it any more. Blocking.
    pub fn commit(self) -> Result<Layers, Cause> {
        let Container { spec, prepared, sandbox } = self;
        // It holds mounts of what is removed now.
        drop(spec);
        drop(sandbox);
        prepared.commit()
    }
}

fn process(op: &ExecOp, prepared: &Prepared, devices: &Edits) -> Process {
    Process {
        args: op.args.clone(),
        env: [&op.env[..], &op.proxy_env, &prepared.env, &devices.env].concat(),
        cwd: op.cwd.clone(),
        user: op.user.clone(),
        groups: devices.groups.clone(),
        tty: false,
    }
}
