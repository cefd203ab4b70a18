//! `kiln info`.

use kiln_engine::Result;
use kiln_engine::info::Info;
use serde_json::{Map, Value, json};

use super::OK;
use crate::app::App;
use crate::args::system::InfoArgs;
use crate::template::Template;
use crate::terminal;
use crate::values::time;

pub(super) fn run(args: &InfoArgs, app: &App) -> Result<u8> {
    let info = app.engine()?.info()?;
    match args.format.as_deref() {
        None if !args.json => terminal::print(&text(&info, app))?,
        None | Some("json") => terminal::say(&value(&info).to_string())?,
        Some(template) => terminal::say(&Template::parse(template)?.fill(&value(&info))?)?,
    }
    Ok(OK)
}

fn value(info: &Info) -> Value {
    let mirrors: Map<String, Value> =
        info.mirrors.iter().map(|(host, list)| (host.clone(), json!(list))).collect();
    json!({
        "Version": env!("CARGO_PKG_VERSION"), "Root": info.root, "Containers": info.containers,
        "ContainersRunning": info.running, "ContainersPaused": info.paused, "ContainersStopped": info.stopped,
        "Images": info.images, "KernelVersion": info.kernel, "OperatingSystem": info.operating_system,
        "OSType": "linux", "Architecture": info.architecture, "NCPU": info.cpus, "MemTotal": info.memory,
        "CgroupVersion": info.cgroup_version.to_string(), "CgroupParent": info.cgroup_parent, "Driver": "overlay",
        "Mirrors": mirrors,
    })
}

fn text(info: &Info, app: &App) -> String {
    let config = app.config_file().map_or_else(|| "none".to_owned(), |file| file.display().to_string());
    let mut lines = vec![
        ("Version", env!("CARGO_PKG_VERSION").to_owned()),
        ("Root", info.root.clone()),
        ("Configuration", config),
        (
            "Containers",
            format!(
                "{} ({} running, {} paused, {} stopped)",
                info.containers, info.running, info.paused, info.stopped
            ),
        ),
        ("Images", info.images.to_string()),
        ("Kernel", info.kernel.clone()),
        ("System", info.operating_system.clone()),
        ("Architecture", info.architecture.clone()),
        ("CPUs", info.cpus.to_string()),
        ("Memory", time::size(info.memory)),
        ("Cgroups", format!("version {}, beneath {}", info.cgroup_version, info.cgroup_parent)),
    ];
    lines.extend(info.mirrors.iter().map(|(host, list)| ("Mirror", format!("{host}: {}", list.join(", ")))));
    lines.iter().map(|(name, value)| format!("{name:<14} {value}\n")).collect()
}
