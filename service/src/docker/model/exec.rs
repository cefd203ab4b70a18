//! Execs.

use serde::{Deserialize, Serialize};

use super::or_default;

/// `POST /containers/{id}/exec`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Create {
    pub(crate) attach_stdin: bool,
    pub(crate) attach_stdout: bool,
    pub(crate) attach_stderr: bool,
    #[serde(deserialize_with = "or_default")]
    pub(crate) detach_keys: String,
    pub(crate) tty: bool,
    pub(crate) console_size: Option<[u16; 2]>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) env: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) cmd: Vec<String>,
    pub(crate) privileged: bool,
    #[serde(deserialize_with = "or_default")]
    pub(crate) user: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) working_dir: String,
}

/// `{"Id": …}`
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Created {
    pub(crate) id: String,
}

/// `POST /exec/{id}/start`
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Start {
    pub(crate) detach: bool,
    pub(crate) tty: bool,
    pub(crate) console_size: Option<[u16; 2]>,
}

/// `GET /exec/{id}/json`
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Inspect {
    #[serde(rename = "ID")]
    pub(crate) id: String,
    pub(crate) running: bool,
    pub(crate) exit_code: Option<i32>,
    pub(crate) process_config: ProcessConfig,
    pub(crate) open_stdin: bool,
    pub(crate) open_stderr: bool,
    pub(crate) open_stdout: bool,
    pub(crate) can_remove: bool,
    #[serde(rename = "ContainerID")]
    pub(crate) container_id: String,
    pub(crate) detach_keys: String,
    pub(crate) pid: u32,
}

/// What an exec runs.
#[derive(Debug, Serialize)]
pub(crate) struct ProcessConfig {
    pub(crate) tty: bool,
    pub(crate) entrypoint: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) privileged: bool,
    pub(crate) user: String,
}
