//! The devices of a step: those that it asked for, and with `--security=insecure` those that BuildKit gives.

use kiln_graph::{ExecOp, Security};
use kiln_runtime::{DeviceKind, DeviceNode};

use crate::cdi::{Edits, Registry};
use crate::entitlements;
use crate::error::Cause;
use crate::stores::Stores;

/// Character devices of an insecure step, whether the host has nodes of them or not: name, major, minor.
const INSECURE: [(&str, u32, u32); 6] = [
    ("kmsg", 1, 11),
    ("cuse", 10, 203),
    ("fuse", 10, 229),
    ("kvm", 10, 232),
    ("net/tun", 10, 200),
    ("loop-control", 10, 237),
];
/// Major number of loop devices, and how many of them an insecure step gets.
const LOOP: (u32, u32) = (7, 8);

/// What its devices add to the step.
pub(crate) fn of(stores: &Stores, op: &ExecOp) -> Result<Edits, Cause> {
    let mut edits = match op.devices.is_empty() {
        true => Edits::default(),
        false => Edits::of(&entitlements::devices(&Registry::load(&stores.cdi_dirs), op)?)?,
    };
    let mut nodes = if op.security == Security::Insecure { insecure() } else { Vec::new() };
    for node in edits.nodes {
        // Of two nodes of one path the last one is meant.
        nodes.retain(|known| known.path != node.path);
        nodes.push(node);
    }
    edits.nodes = nodes;
    Ok(edits)
}

fn insecure() -> Vec<DeviceNode> {
    let character = INSECURE
        .iter()
        .map(|(name, major, minor)| node((*name).to_owned(), DeviceKind::Character, *major, *minor));
    let (major, count) = LOOP;
    let loops = (0..count).map(|minor| node(format!("loop{minor}"), DeviceKind::Block, major, minor));
    character.chain(loops).collect()
}

fn node(name: String, kind: DeviceKind, major: u32, minor: u32) -> DeviceNode {
    let path = format!("/dev/{name}");
    DeviceNode { path, kind, major, minor, mode: 0o666, uid: None, gid: None, access: "rwm".to_owned() }
}
