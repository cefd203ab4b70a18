//! What a container would be, without making one: for people who want to see it.

use kiln_runtime::plan::{self, Resolved};
use kiln_runtime::{EtcFiles, NetworkSetup, spec};

use super::create::plan as record_of;
use super::names::new_id;
use super::{ContainerOptions, Containers, MountKind, MountPoint, MountRequest, NetworkMode};
use crate::supervisor::spec::on;
use crate::{Error, Result};

/// Which value is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preview {
    /// The steps that the container's child performs.
    Plan,
    /// The OCI runtime specification, as JSON.
    Spec,
}

impl Containers<'_> {
    /// A value on the way from options to a process, as text. Nothing is made; names and paths stand for what is not there.
    pub fn preview(&self, options: &ContainerOptions, what: Preview) -> Result<String> {
        let image = self.engine.images().find_for(&options.image, options.platform.as_deref())?;
        let mut record = record_of(options, &image, &new_id()?)?;
        record.container.mounts = record.container.options.mounts.iter().map(mount_point).collect();
        let network = match options.network {
            NetworkMode::Host => NetworkSetup::Host,
            NetworkMode::Bridge | NetworkMode::None => NetworkSetup::None,
        };
        let run = on(Vec::new(), self.engine, &record, EtcFiles::default(), network);
        let resolved = Resolved::preview(&run);
        let fail = |error| Error::invalid("cannot plan this container").caused_by(error);
        match what {
            Preview::Plan => Ok(plan::of(&run, resolved).map_err(fail)?.to_string()),
            Preview::Spec => {
                let value = spec::of(&run, resolved.ids.uid, resolved.ids.gid).map_err(fail)?;
                let text = serde_json::to_string_pretty(&value);
                Ok(text.map_err(|error| Error::internal("write the specification", error))? + "\n")
            }
        }
    }
}

fn mount_point(request: &MountRequest) -> MountPoint {
    let (kind, name, source) = match &request.kind {
        MountKind::Bind { source, .. } => ("bind", None, source.clone()),
        MountKind::Volume { name } => {
            let name = name.clone().unwrap_or_else(|| "anonymous".to_owned());
            let source = format!("/volumes/{name}");
            ("volume", Some(name), source)
        }
        MountKind::Tmpfs { .. } => ("tmpfs", None, String::new()),
    };
    let (target, readonly) = (request.target.clone(), request.readonly);
    MountPoint { kind: kind.to_owned(), name, source, target, readonly }
}
