//! `kiln volume …`.

use kiln_engine::Result;
use kiln_engine::volumes::Volume;
use serde_json::{Value, json};

use super::{OK, container_prune, each, inspect};
use crate::app::App;
use crate::args::volume::{Group, ListArgs};
use crate::listing::Listing;
use crate::terminal;
use crate::values::assignment;

pub(super) fn run(command: Group, app: &App) -> Result<u8> {
    let engine = app.engine()?;
    let volumes = engine.volumes();
    match command {
        Group::Ls(args) => list(&volumes.list()?, &args),
        Group::Create(args) => {
            let labels: Vec<_> = args.labels.iter().map(|label| assignment::pair(label)).collect();
            terminal::say(&volumes.create(args.name.as_deref(), &labels)?.name).map(|()| OK)
        }
        Group::Inspect(args) => {
            let found: Vec<Value> =
                args.names.iter().map(|name| Ok(value(&volumes.inspect(name)?))).collect::<Result<_>>()?;
            inspect::print(&found, args.format.as_deref())
        }
        Group::Rm(args) => each(&args.names, |name| volumes.remove(name, args.force)),
        Group::Prune(args) => {
            if !terminal::agreed(args.force, "This removes volumes that no container uses.")? {
                return Ok(OK);
            }
            container_prune::report("Deleted volumes:", &volumes.prune(args.all)?)
        }
    }
}

fn list(volumes: &[Volume], args: &ListArgs) -> Result<u8> {
    let row = |volume: &Volume| {
        let labels: Vec<String> =
            volume.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        json!({
            "Driver": "local", "Name": volume.name, "Mountpoint": volume.mountpoint, "Scope": "local",
            "Labels": labels.join(","),
        })
    };
    let rows = volumes.iter().map(row).collect();
    let columns = vec![("DRIVER", "Driver"), ("VOLUME NAME", "Name")];
    Listing { columns, id: "Name", rows }.print(&args.output).map(|()| OK)
}

/// A volume as `docker volume inspect` shows it.
pub(super) fn value(volume: &Volume) -> Value {
    let labels: serde_json::Map<String, Value> =
        volume.labels.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    json!({
        "CreatedAt": volume.created, "Driver": "local", "Labels": labels, "Mountpoint": volume.mountpoint,
        "Name": volume.name, "Options": {}, "Scope": "local",
    })
}
