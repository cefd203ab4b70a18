//! A registry of Debian's package on the loopback, for what is pushed.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::peers::Daemon;

/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(30);

/// A registry that ends with its value.
pub(crate) struct Registry {
    address: String,
    _daemon: Daemon,
}

impl Registry {
    /// Serves the folder `data` on a port that is free.
    pub(crate) fn serve(data: &Path) -> Result<Registry> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = format!("127.0.0.1:{port}");
        let config = data.join("registry.yml");
        let storage = format!("storage: {{filesystem: {{rootdirectory: {}}}}}", data.join("data").display());
        let log = "log: {level: error, accesslog: {disabled: true}}";
        fs::write(&config, format!("version: 0.1\n{log}\n{storage}\nhttp: {{addr: {address}}}\n"))?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(fs::File::create(data.join("log"))?);
        let daemon = Daemon(command.spawn().context("Debian's package `docker-registry` is not installed")?);
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(&address).is_err() {
            if Instant::now() > deadline {
                bail!("the registry does not answer at {address}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Registry { address, _daemon: daemon })
    }

    /// Its host and port.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }
}
